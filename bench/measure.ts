/**
 * Running one command and telling what it cost: wall time, processor time and peak memory of it and all its children, as
 * GNU time reports them (package "time"); with those of a daemon that works for it, and what reached the device.
 */
import { execFileSync, spawn } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { deviceBytes } from './device.js'

export interface Sample {
  readonly wallSeconds: number
  /** User and system, all threads and children. */
  readonly cpuSeconds: number
  /** Peak resident memory of the biggest process. */
  readonly peakBytes: number
  /** What it took afterwards to write to disk what the command had left in memory. */
  readonly syncSeconds: number
  /** To the device below the filesystem, the sync included; null where that has none. */
  readonly writtenBytes: number | null
}

export interface Command {
  readonly argv: readonly [string, ...string[]]
  readonly cwd?: string
  /** Beside what all have. */
  readonly env?: Readonly<Record<string, string>>
  /** A process that works for the command: what it takes is counted, too. */
  readonly daemonPid?: number
}

/**
 * Runs a command that must succeed.
 *
 * @param filesystem a directory of the filesystem that the command writes to; synced before and after
 * @param signal ends the command and all that it started
 */
export async function measure(command: Command, filesystem: string, signal: AbortSignal): Promise<Sample> {
  const report = `${filesystem}/.time`
  syncFilesystem(filesystem)
  const daemon = watchDaemon(command.daemonPid)
  const written = deviceBytes(filesystem)?.written
  const before = performance.now()
  await runGroup(['time', '-q', '-f', '%U %S %M', '-o', report, ...command.argv], command, signal)
  const ended = performance.now()
  syncFilesystem(filesystem)
  const synced = performance.now()
  const share = daemon()
  const [user, system, peakKib] = readFileSync(report, 'utf8').trim().split(' ').map(Number) as [
    number,
    number,
    number,
  ]
  return {
    wallSeconds: seconds(ended - before),
    cpuSeconds: Math.round((user + system + share.cpuSeconds) * 100) / 100,
    peakBytes: Math.max(peakKib * 1024, share.peakBytes),
    syncSeconds: seconds(synced - ended),
    writtenBytes: written === undefined ? null : deviceBytes(filesystem)!.written - written,
  }
}

/**
 * What all tools are given, so that what this machine's user has set measures nothing: NODE_EXTRA_CA_CERTS, for one, has Node 20
 * read certificates at its start, which takes longer than all else it does then.
 */
export function environmentWith(env: Readonly<Record<string, string>> = {}): Record<string, string> {
  const shared: Record<string, string> = {}
  for (const name of ['PATH', 'HOME', 'LANG', 'TMPDIR']) {
    const value = process.env[name]
    if (value !== undefined) shared[name] = value
  }
  return { ...shared, ...env }
}

interface DaemonShare {
  readonly cpuSeconds: number
  readonly peakBytes: number
}

/** @returns tells what a daemon and the children it waited for have taken since; nothing when there is none */
function watchDaemon(pid: number | undefined): () => DaemonShare {
  if (pid === undefined) return () => ({ cpuSeconds: 0, peakBytes: 0 })
  // proc(5): from here on its peak is that of what is measured.
  writeFileSync(`/proc/${pid}/clear_refs`, '5')
  const before = cpuSecondsOf(pid)
  return () => {
    const peakKib = /^VmHWM:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
    return { cpuSeconds: cpuSecondsOf(pid) - before, peakBytes: Number(peakKib ?? 0) * 1024 }
  }
}

/** User and system, with the children that it waited for: fields 14 to 17 of proc(5)'s stat, in hundredths of a second. */
function cpuSecondsOf(pid: number): number {
  const afterName = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)!.split(' ')
  return afterName.slice(11, 15).reduce((sum, ticks) => sum + Number(ticks), 0) / 100
}

function seconds(milliseconds: number): number {
  return Math.round(milliseconds) / 1000
}

function syncFilesystem(path: string): void {
  execFileSync('sync', ['-f', path])
}

/** In a process group of its own, so that a pipeline ends as a whole. */
async function runGroup(
  argv: readonly string[],
  { cwd = '/', env }: Pick<Command, 'cwd' | 'env'>,
  signal: AbortSignal,
): Promise<void> {
  signal.throwIfAborted()
  const child = spawn(argv[0]!, argv.slice(1), {
    cwd,
    env: environmentWith(env),
    detached: true,
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  const stop = () => {
    if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL')
  }
  signal.addEventListener('abort', stop, { once: true })
  try {
    const stderr: Buffer[] = []
    child.stderr.on('data', (bytes: Buffer) => stderr.push(bytes))
    const status = await new Promise<number | null>((resolve, reject) => {
      child.on('error', reject)
      child.on('close', resolve)
    })
    signal.throwIfAborted()
    if (status === 0) return
    throw new Error(`${argv.join(' ')}: exit ${status}\n${Buffer.concat(stderr).toString().slice(-2000)}`)
  } finally {
    signal.removeEventListener('abort', stop)
  }
}

/** The value that a part of all (0.5, 0.99) is not above. */
export function quantile(values: readonly number[], part: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))]!
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}
