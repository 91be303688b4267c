/**
 * What the tests of whole images need of the machine: tools of others, root, scratch directories, and the built command.
 *
 * Nothing here knows images; what is missing becomes the reason that a test is skipped for.
 */
import { execFileSync, spawn } from 'node:child_process'
import { accessSync, constants, existsSync, mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { removeScratch } from '../support/mounts.js'

export const ROOT = resolve(fileURLToPath(import.meta.url), '../../..')
/** The command as `npm run build` made it. */
export const MAIN = join(ROOT, 'dist/cli/main.cjs')

export interface Needs {
  readonly root?: boolean
  /** Device files, extended attributes and foreign owners in the scratch directory. */
  readonly oddFiles?: boolean
  readonly tools?: readonly string[]
}

/** Why tests with these needs cannot run here; null when they can. */
export function missing(needs: Needs): string | null {
  if (needs.root && process.geteuid?.() !== 0) return 'needs root'
  const tools = (needs.tools ?? []).filter((tool) => findTool(tool) === null)
  if (tools.length > 0) return `needs ${tools.join(', ')}`
  if (!existsSync(MAIN)) return 'needs the built command: npm run build'
  return needs.oddFiles ? whyNoOddFiles() : null
}

/** A title that says why its tests are skipped, for describe.skipIf(why !== null). */
export function titled(title: string, why: string | null): string {
  return why === null ? title : `${title} (skipped: ${why})`
}

export function findTool(name: string): string | null {
  // Where administrators' tools are is not in the PATH of every user.
  const directories = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/sbin']
  const found = directories.map((directory) => join(directory, name)).find(isExecutable)
  return found ?? null
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}

/** Root in a container may lack the rights, and a filesystem may lack the kinds; both are seen by trying. */
function whyNoOddFiles(): string | null {
  using scratch = scratchDirectory()
  try {
    execFileSync('mknod', [scratch.file('device'), 'c', '1', '3'], { stdio: 'ignore' })
    execFileSync('chown', ['3000000:3000000', scratch.file('device')], { stdio: 'ignore' })
    execFileSync('setfattr', ['-n', 'user.note', '-v', 'x', scratch.path], { stdio: 'ignore' })
    execFileSync('setfattr', ['-n', 'trusted.note', '-v', 'x', scratch.path], { stdio: 'ignore' })
    return null
  } catch {
    return `needs device files, owners and extended attributes in ${tmpdir()}`
  }
}

export interface Scratch extends Disposable {
  readonly path: string
  file(name: string): string
}

/** A directory of the test's own; goes with all in it. */
export function scratchDirectory(): Scratch {
  const path = mkdtempSync(join(tmpdir(), 'groot-images-'))
  return {
    path,
    file: (name) => join(path, name),
    [Symbol.dispose]: () => removeScratch(path),
  }
}

export interface RunOptions {
  readonly cwd?: string
  readonly env?: Readonly<Record<string, string>>
  /** Run as this user and the group of the same number; only root can. */
  readonly uid?: number
  readonly timeoutMs?: number
}

export interface RunResult {
  readonly status: number | null
  readonly stdout: string
  readonly stderr: string
}

/** Runs a program to its end, whatever that is. */
export function attempt(
  command: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<RunResult> {
  const child = spawn(findTool(command) ?? command, args, {
    cwd: options.cwd,
    env: { ...process.env, ...options.env },
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: options.timeoutMs ?? 300_000,
    killSignal: 'SIGKILL',
    ...(options.uid === undefined ? {} : { uid: options.uid, gid: options.uid }),
  })
  const [stdout, stderr]: [Buffer[], Buffer[]] = [[], []]
  child.stdout.on('data', (bytes: Buffer) => stdout.push(bytes))
  child.stderr.on('data', (bytes: Buffer) => stderr.push(bytes))
  return new Promise((settle, reject) => {
    child.on('error', reject)
    child.on('close', (status) => {
      settle({ status, stdout: Buffer.concat(stdout).toString(), stderr: Buffer.concat(stderr).toString() })
    })
  })
}

/** Runs a program that must succeed; returns what it printed. */
export async function run(
  command: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<string> {
  const { status, stdout, stderr } = await attempt(command, args, options)
  if (status === 0) return stdout
  throw new Error(`${command} ${args.join(' ')}: exit ${status}\n${stderr.slice(-4000)}`)
}

/** Takes away what the caller's environment may say to groot. */
export const CLEAN_ENV = { GROOT_STORE: '', GROOT_DRIVER: '' } as const

/** Runs groot on a store; it must succeed. Returns what it printed. */
export function groot(store: string, args: readonly string[]): Promise<string> {
  return run(process.execPath, [MAIN, '--store', store, ...args], { env: CLEAN_ENV })
}
