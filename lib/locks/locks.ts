/**
 * Named locks: one holder each among all processes and all operations of a process, free at the holder's death.
 *
 * Locks have ranks, and an operation takes them in that order, so that no two can wait for each other. Every wait has a
 * deadline. What is done under a lock, and for how long, is the operation's business.
 */
import { randomUUID } from 'node:crypto'
import { readdirSync } from 'node:fs'
import { setTimeout } from 'node:timers/promises'
import { BugError, BusyError, isErrno, throwIfAborted, toGrootError, UnsupportedError } from '../errors.js'
import { type Taken, tryLock } from './engine.js'
import { Guard, isGuardLocked, type LockHolder, readGuard } from './guard.js'
import { guardFileName, isGuardFileName, type LockKind, lockName, lockNameOfFile } from './names.js'
import { keepSpares } from './spares.js'

export type { LockHolder } from './guard.js'

export interface LockRequest {
  /** How long to wait at most; 0 tries once. */
  readonly timeoutMs: number
  readonly signal?: AbortSignal | undefined
  /** Called once, when the wait is long enough to be worth a word. The holder is null where it cannot be told. */
  readonly onWait?: ((lock: string, holder: LockHolder | null) => void) | undefined
}

export interface Lock extends AsyncDisposable {
  /** `gc`, `bundle/ID`, `base/ID`, `layer/DIFFID`, `task/NAME`. */
  readonly name: string
  /** Fires when the lock was lost: somebody removed the locks directory. Work that relies on it has to stop. */
  readonly lost: AbortSignal
  /** Whether somebody has tried to take it since: who holds a lock again and again should let others have it then. */
  isWanted(): boolean
  /** Lets go. May be called twice. */
  release(): Promise<void>
}

/** A lock that somebody holds. */
export interface LockStatus {
  readonly name: string
  readonly holder: LockHolder | null
}

/** What takes locks: a scope, or the manager with a scope of its own for each lock. */
export interface LockTaker {
  /** @throws {BusyError} `lock-timeout`, like all that wait; facts `lock`, `holderPid`, `holderCommand`, `holderSince`, `waitedMs` */
  gc(request: LockRequest): Promise<Lock>
  bundle(id: string, request: LockRequest): Promise<Lock>
  base(id: string, request: LockRequest): Promise<Lock>
  layer(diffId: string, request: LockRequest): Promise<Lock>
  /** What is done by one at a time. Has no rank: it may be taken at any time. */
  task(name: string, request: LockRequest): Promise<Lock>
}

const RANKS = { gc: 1, bundle: 2, base: 3, layer: 4 } as const
type RankedKind = keyof typeof RANKS

const FIRST_DELAY_MS = 1
const LONGEST_DELAY_MS = 25
const WORTH_A_WORD_MS = 10

export class LockManager implements LockTaker {
  /** Absolute path of the directory of guard files; made when the first lock is taken. */
  readonly directory: string
  readonly #command: string
  readonly #spares: string | null

  /**
   * @param options.command what this process does, for those who wait: `groot create`. Never arguments: they may be secret
   * @param options.spares directory of the spare guard files; without it there are none
   */
  constructor(directory: string, options: { readonly command: string; readonly spares?: string }) {
    this.directory = directory
    this.#spares = options.spares ?? null
    this.#command = options.command.slice(0, 100)
  }

  /** The locks of one operation; the order of ranks holds within it. */
  scope(): LockScope {
    return new LockScope((kind, id, request) => this.#take(kind, id, request), [])
  }

  gc(request: LockRequest): Promise<Lock> {
    return this.scope().gc(request)
  }

  bundle(id: string, request: LockRequest): Promise<Lock> {
    return this.scope().bundle(id, request)
  }

  base(id: string, request: LockRequest): Promise<Lock> {
    return this.scope().base(id, request)
  }

  layer(diffId: string, request: LockRequest): Promise<Lock> {
    return this.scope().layer(diffId, request)
  }

  task(name: string, request: LockRequest): Promise<Lock> {
    return this.#take('task', name, request)
  }

  /**
   * Waits until nobody has the gc lock, for a moment at least: what its holder did has been done, and the next one sees what
   * was written before. Costs next to nothing where nobody has it.
   *
   * @throws {BusyError} `lock-timeout`
   */
  async passGc(request: LockRequest): Promise<void> {
    if (!isGuardLocked(`${this.directory}/${guardFileName('gc', '')}`)) return
    // In line with those who want it for themselves, and seen by its holder.
    await using _gc = await this.gc(request)
  }

  /** Who holds what, by name. Waits for nobody; who takes a lock at the very instant it is looked at has to try again. */
  async holders(): Promise<LockStatus[]> {
    const found: LockStatus[] = []
    for (const file of this.#guardFiles()) {
      const path = `${this.directory}/${file}`
      if (!isGuardLocked(path)) continue
      const said = readGuard(path)
      found.push({ name: said?.lock ?? lockNameOfFile(file), holder: said?.holder ?? null })
    }
    return found.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0))
  }

  /** Sees to it that locks can also be taken on a disk that is full. */
  keepSpares(): void {
    if (this.#spares !== null) keepSpares(this.#spares)
  }

  /** Removes the guard files of dead owners; harmless ones that the next taker would adopt. @returns how many */
  async removeLeftovers(): Promise<number> {
    let removed = 0
    for (const file of this.#guardFiles()) {
      const guard = new Guard(`${this.directory}/${file}`)
      if (!guard.tryTake(lockNameOfFile(file), this.holder())) continue
      guard.release()
      removed++
    }
    return removed
  }

  /**
   * Makes sure that locks work here: that of two takers only one succeeds.
   *
   * @throws {UnsupportedError} `lock-unsupported`
   */
  async assertUsable(): Promise<void> {
    const path = `${this.directory}/${guardFileName('task', `check-${randomUUID()}`)}`
    const [first, second] = [new Guard(path), new Guard(path)]
    try {
      if (first.tryTake('check', this.holder()) && !second.tryTake('check', this.holder())) return
    } finally {
      second.release()
      first.release()
    }
    throw new UnsupportedError(
      'lock-unsupported',
      `Cannot take locks in "${this.directory}": its filesystem lets two have the same one`,
      { facts: { directory: this.directory } },
    )
  }

  async #take(kind: LockKind, id: string, request: LockRequest): Promise<Lock> {
    const { timeoutMs, signal, onWait } = request
    const name = lockName(kind, id)
    const path = `${this.directory}/${guardFileName(kind, id)}`
    const start = performance.now()
    let isTold = false
    for (let delay = FIRST_DELAY_MS; ; delay = Math.min(2 * delay, LONGEST_DELAY_MS)) {
      throwIfAborted(signal)
      const lock = await this.#tryOnce(kind, id)
      if (lock !== null) return lock
      const waitedMs = performance.now() - start
      if (waitedMs >= timeoutMs) throw timedOut(name, readGuard(path)?.holder ?? null, Math.round(waitedMs))
      if (waitedMs >= WORTH_A_WORD_MS && !isTold) {
        isTold = true
        onWait?.(name, readGuard(path)?.holder ?? null)
      }
      // Not all at the same moment: contenders that started together would go on meeting.
      await pause(Math.min(delay * (0.5 + Math.random()), timeoutMs - waitedMs), signal)
    }
  }

  async #tryOnce(kind: LockKind, id: string): Promise<Lock | null> {
    const name = lockName(kind, id)
    const guard = new Guard(`${this.directory}/${guardFileName(kind, id)}`, this.#spares)
    const lost = new AbortController()
    try {
      const taken = await tryLock(guard, name, this.holder(), (cause) => lost.abort(lockLost(name, cause)))
      return taken && new HeldLock(name, lost, taken)
    } catch (error) {
      throw toGrootError(error, `Cannot take lock "${name}"`)
    }
  }

  /** What others are told of this process. */
  holder(): LockHolder {
    return { pid: process.pid, command: this.#command, since: new Date().toISOString() }
  }

  #guardFiles(): string[] {
    try {
      return readdirSync(this.directory).filter(isGuardFileName)
    } catch (error) {
      if (isErrno(error, 'ENOENT')) return []
      throw toGrootError(error, `Cannot list the locks in "${this.directory}"`)
    }
  }
}

type Take = (kind: LockKind, id: string, request: LockRequest) => Promise<Lock>

/** The locks of one operation. Taking one while holding, or waiting for, one of the same or a higher rank is a bug. */
export class LockScope implements LockTaker {
  readonly #take: Take
  /** Names and ranks of what is held or waited for; those of the scopes that this one branched from first. */
  readonly #outer: ReadonlyArray<ReadonlyMap<string, number>>
  readonly #held = new Map<string, number>()

  constructor(take: Take, outer: ReadonlyArray<ReadonlyMap<string, number>>) {
    this.#take = take
    this.#outer = outer
  }

  gc(request: LockRequest): Promise<Lock> {
    return this.#ranked('gc', '', request)
  }

  bundle(id: string, request: LockRequest): Promise<Lock> {
    return this.#ranked('bundle', id, request)
  }

  base(id: string, request: LockRequest): Promise<Lock> {
    return this.#ranked('base', id, request)
  }

  layer(diffId: string, request: LockRequest): Promise<Lock> {
    return this.#ranked('layer', diffId, request)
  }

  task(name: string, request: LockRequest): Promise<Lock> {
    return this.#take('task', name, request)
  }

  /**
   * A scope for one of several works that run side by side, such as layers that are read at the same time: it goes on
   * from what is held here, and does not see what the other branches take.
   */
  branch(): LockScope {
    return new LockScope(this.#take, [...this.#outer, this.#held])
  }

  async #ranked(kind: RankedKind, id: string, request: LockRequest): Promise<Lock> {
    const name = lockName(kind, id)
    for (const held of [...this.#outer, this.#held]) {
      for (const [other, rank] of held) if (rank >= RANKS[kind]) throw outOfOrder(name, other)
    }
    this.#held.set(name, RANKS[kind])
    try {
      const lock = await this.#take(kind, id, request)
      return new ScopedLock(lock, () => this.#held.delete(name))
    } catch (error) {
      this.#held.delete(name)
      throw error
    }
  }
}

class HeldLock implements Lock {
  readonly name: string
  readonly #lost: AbortController
  readonly #taken: Taken

  constructor(name: string, lost: AbortController, taken: Taken) {
    this.name = name
    this.#lost = lost
    this.#taken = taken
  }

  // Signals cost more than locks that nobody listens to.
  get lost(): AbortSignal {
    return this.#lost.signal
  }

  isWanted(): boolean {
    return this.#taken.isWanted()
  }

  async release(): Promise<void> {
    await this.#taken.release()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.release()
  }
}

/** A lock that tells its scope when it is given back. */
class ScopedLock implements Lock {
  readonly #lock: Lock
  readonly #onReleased: () => void
  #isReleased = false

  constructor(lock: Lock, onReleased: () => void) {
    this.#lock = lock
    this.#onReleased = onReleased
  }

  get name(): string {
    return this.#lock.name
  }

  get lost(): AbortSignal {
    return this.#lock.lost
  }

  isWanted(): boolean {
    return this.#lock.isWanted()
  }

  async release(): Promise<void> {
    if (this.#isReleased) return
    this.#isReleased = true
    try {
      await this.#lock.release()
    } finally {
      this.#onReleased()
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.release()
  }
}

async function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  try {
    await setTimeout(ms, undefined, signal === undefined ? {} : { signal })
  } catch (error) {
    throwIfAborted(signal)
    throw error
  }
}

function timedOut(lock: string, holder: LockHolder | null, waitedMs: number): BusyError {
  const who = holder === null ? 'another process holds it' : `${heldBy(holder)} since ${holder.since}`
  return new BusyError('lock-timeout', `Cannot take lock "${lock}": ${who}; gave up after ${waitedMs} ms`, {
    facts: {
      lock,
      holderPid: holder?.pid ?? null,
      holderCommand: holder?.command ?? null,
      holderSince: holder?.since ?? null,
      waitedMs,
    },
  })
}

function heldBy(holder: LockHolder): string {
  return `process ${holder.pid} (${holder.command}) holds it`
}

function lockLost(lock: string, cause: Error): BusyError {
  return new BusyError(
    'lock-lost',
    `Cannot go on under lock "${lock}": its file was removed by somebody else`,
    {
      facts: { lock },
      cause,
    },
  )
}

function outOfOrder(wanted: string, held: string): BugError {
  return new BugError(
    `Cannot take lock "${wanted}" while holding "${held}": locks are taken in the order gc, bundle, base, layer`,
    { facts: { wanted, held } },
  )
}
