/**
 * Running one command and telling what it cost: wall time, processor time and peak memory of it and all its children, as
 * GNU time reports them (package "time").
 */
import { execFileSync, spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'

export interface Sample {
  readonly wallSeconds: number
  /** User and system, all threads and children. */
  readonly cpuSeconds: number
  /** Peak resident memory of the biggest process. */
  readonly peakBytes: number
  /** What it took afterwards to write to disk what the command had left in memory. */
  readonly syncSeconds: number
}

export interface Command {
  readonly argv: readonly [string, ...string[]]
  readonly cwd?: string
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
  const before = performance.now()
  await runGroup(['time', '-q', '-f', '%U %S %M', '-o', report, ...command.argv], command.cwd ?? '/', signal)
  const ended = performance.now()
  syncFilesystem(filesystem)
  const [user, system, peakKib] = readFileSync(report, 'utf8').trim().split(' ').map(Number) as [
    number,
    number,
    number,
  ]
  return {
    wallSeconds: seconds(ended - before),
    cpuSeconds: Math.round((user + system) * 100) / 100,
    peakBytes: peakKib * 1024,
    syncSeconds: seconds(performance.now() - ended),
  }
}

function seconds(milliseconds: number): number {
  return Math.round(milliseconds) / 1000
}

function syncFilesystem(path: string): void {
  execFileSync('sync', ['-f', path])
}

/** In a process group of its own, so that a pipeline ends as a whole. */
async function runGroup(argv: readonly string[], cwd: string, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted()
  const child = spawn(argv[0]!, argv.slice(1), { cwd, detached: true, stdio: ['ignore', 'ignore', 'pipe'] })
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

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}
