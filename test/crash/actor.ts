/**
 * Processes that carry out calls and are killed, or whose system calls fail: started before they are needed, so that a
 * moment that is chosen at random lies within the call and not in the start of a process.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { setTimeout } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

const SCRIPT = fileURLToPath(new URL('actor.mjs', import.meta.url))

export interface ActorError {
  readonly code: string
  readonly kind: string
  readonly message: string
  readonly facts: Record<string, unknown>
  readonly stack: string
}

/** What became of a call; `died` when the process ended first. */
export type Answer =
  | { readonly kind: 'ok'; readonly value: unknown }
  /** `mayLeave` when the fault may have hit the tidying up. */
  | { readonly kind: 'failed'; readonly error: ActorError; readonly mayLeave?: boolean }
  | { readonly kind: 'died'; readonly signal: string | null }

export class Actor {
  readonly #child: ChildProcess
  readonly #lines: AsyncIterator<string>
  readonly #ended: Promise<unknown[]>
  #stderr = ''

  private constructor(child: ChildProcess) {
    this.#child = child
    this.#ended = once(child, 'exit')
    this.#lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]()
    // Who dies closes its input first.
    child.stdin!.on('error', () => {})
    child.stderr!.on('data', (bytes: Buffer) => {
      this.#stderr += bytes.toString()
    })
  }

  /** Resolves when the process is loaded and waits for calls. */
  static async start(store: string, driver: string): Promise<Actor> {
    const child = spawn(process.execPath, [SCRIPT, store, driver], { stdio: ['pipe', 'pipe', 'pipe'] })
    const actor = new Actor(child)
    const ready = await actor.#lines.next()
    if (ready.done === true) throw new Error(`the actor did not start: ${actor.#stderr}`)
    return actor
  }

  get pid(): number {
    return this.#child.pid!
  }

  async call(verb: string, ...args: readonly unknown[]): Promise<Answer> {
    this.#child.stdin!.write(`${JSON.stringify({ verb, args })}\n`)
    const line = await this.#lines.next()
    if (line.done === true) {
      const [, signal] = await this.#ended
      return { kind: 'died', signal: signal as string | null }
    }
    const { ok, value, error } = JSON.parse(line.value)
    return ok ? { kind: 'ok', value } : { kind: 'failed', error }
  }

  /** The same, and its value. */
  async must(verb: string, ...args: readonly unknown[]): Promise<unknown> {
    const answer = await this.call(verb, ...args)
    if (answer.kind === 'ok') return answer.value
    throw new Error(`${verb} ended as ${JSON.stringify(answer)}: ${this.#stderr}`)
  }

  /** Carries out a call and kills the process after a while. */
  async killDuring(afterMs: number, verb: string, ...args: readonly unknown[]): Promise<Answer> {
    const until = performance.now() + afterMs
    const answer = this.call(verb, ...args)
    await setTimeout(Math.max(0, afterMs - 1))
    // Timers go by milliseconds, and calls may be over within one.
    while (performance.now() < until);
    this.#child.kill('SIGKILL')
    return await answer
  }

  signal(name: NodeJS.Signals): void {
    this.#child.kill(name)
  }

  async kill(): Promise<void> {
    this.#child.kill('SIGKILL')
    await this.#ended
  }

  /** Ends it in good order. */
  async end(): Promise<void> {
    this.#child.stdin!.end()
    await this.#ended
  }
}

/** Always one process ahead: the next is loaded while what the last one left is looked at. */
export class ActorQueue implements AsyncDisposable {
  readonly #start: () => Promise<Actor>
  #next: Promise<Actor>

  constructor(store: string, driver: string) {
    this.#start = () => Actor.start(store, driver)
    this.#next = this.#start()
  }

  async take(): Promise<Actor> {
    const actor = await this.#next
    this.#next = this.#start()
    return actor
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await (await this.#next).kill()
  }
}
