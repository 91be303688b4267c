/**
 * Faults that the kernel's tracer injects: the n-th system call of a kind fails, or kills the process.
 */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import type { Actor } from './actor.js'

/** Why nothing can be injected here, or null. */
export function whyNoStrace(): string | null {
  const tried = spawnSync('strace', ['-f', '-e', 'inject=getppid:error=EIO:when=1', 'true'], {
    encoding: 'utf8',
  })
  if (tried.error !== undefined) return 'strace is not installed'
  return tried.status === 0 ? null : `strace does not work: ${tried.stderr.trim().slice(0, 200)}`
}

/** System calls by what they are for; a `?` is for those that not every machine has. */
export const FAMILIES = {
  open: '?open,openat,?openat2',
  write: 'write,pwrite64,writev,?pwritev,?copy_file_range,?ftruncate',
  rename: '?rename,renameat,?renameat2',
  mkdir: '?mkdir,mkdirat',
  link: '?link,linkat,?symlink,symlinkat,?mknod,mknodat',
  sync: 'fsync,fdatasync,syncfs,sync_file_range',
  mount: '?mount,umount2,?fsopen,?fsconfig,?fsmount,?move_mount,?open_tree,?mount_setattr',
  metadata: 'fchmod,?fchmodat,?fchown,?fchownat,utimensat,?fsetxattr,?lsetxattr,ioctl',
  remove: '?unlink,unlinkat,?rmdir',
} as const

export type Family = keyof typeof FAMILIES

class Tracer {
  readonly #child: ReturnType<typeof spawn>
  readonly #ended: Promise<unknown>

  constructor(child: ReturnType<typeof spawn>) {
    this.#child = child
    this.#ended = once(child, 'exit')
  }

  async attached(): Promise<this> {
    let text = ''
    for await (const bytes of this.#child.stderr!) {
      text += String(bytes)
      if (text.includes('attached')) return this
    }
    throw new Error(`strace did not attach: ${text}`)
  }

  /** Lets go of the process, also when it is gone. */
  async detach(): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) this.#child.kill('SIGINT')
    await this.#ended
  }
}

async function attach(actor: Actor, family: Family, log: string, inject: string | null): Promise<Tracer> {
  const calls = FAMILIES[family]
  const what = inject === null ? [] : ['-e', `inject=${calls}:${inject}`]
  const words = ['-f', '-o', log, '-e', `trace=${calls}`, ...what, '-p', String(actor.pid)]
  const child = spawn('strace', words, { stdio: ['ignore', 'ignore', 'pipe'] })
  return await new Tracer(child).attached()
}

/** How many calls of each kind some work makes, on the thread that makes most of them. */
export async function countCalls(
  actor: Actor,
  family: Family,
  log: string,
  work: () => Promise<unknown>,
): Promise<number> {
  const tracer = await attach(actor, family, log, null)
  await work()
  await tracer.detach()
  const counts = new Map<string, number>()
  for (const line of readFileSync(log, 'utf8').split('\n')) {
    const [, thread, name] = /^(\d+) +(\w+)\(/.exec(line) ?? []
    if (thread === undefined) continue
    const key = `${thread} ${name}`
    counts.set(key, (counts.get(key) ?? 0) + 1)
  }
  return Math.max(0, ...counts.values())
}

/**
 * Does some work while its n-th call of a family fails, or kills.
 *
 * @param fault `error=ENOSPC` or `signal=KILL`
 */
export async function withFault<T>(
  actor: Actor,
  family: Family,
  fault: string,
  when: number,
  log: string,
  work: () => Promise<T>,
): Promise<T> {
  const tracer = await attach(actor, family, log, `${fault}:when=${when}`)
  try {
    return await work()
  } finally {
    await tracer.detach()
  }
}

/** The calls that were made to fail, by the tracer's log. */
export function injectedCalls(log: string): string[] {
  return readFileSync(log, 'utf8')
    .split('\n')
    .filter((line) => line.includes('(INJECTED)'))
}
