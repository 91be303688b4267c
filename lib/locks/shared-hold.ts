/**
 * One hold of a lock for many: works that need it for a moment, asked for while it is being waited for or is held, are done under
 * the same hold. For works of one process that would wait for each other, each looking again after a while.
 */
import type { Lock } from './locks.js'

interface Waiting {
  work(): void
  fail(error: unknown): void
}

export class SharedHold {
  readonly #take: () => Promise<Lock>
  readonly #waiting: Waiting[] = []
  #isTaken = false

  constructor(take: () => Promise<Lock>) {
    this.#take = take
  }

  /**
   * @param work done in one go
   * @throws what the work throws, and what taking the lock throws
   */
  run<T>(work: () => T): Promise<T> {
    const done = new Promise<T>((resolve, reject) => {
      const settle = () => {
        try {
          resolve(work())
        } catch (error) {
          reject(error)
        }
      }
      this.#waiting.push({ work: settle, fail: reject })
    })
    if (!this.#isTaken) void this.#hold()
    return done
  }

  async #hold(): Promise<void> {
    this.#isTaken = true
    try {
      while (this.#waiting.length > 0) {
        await using _lock = await this.#take()
        for (const { work } of this.#waiting.splice(0)) work()
      }
    } catch (error) {
      for (const { fail } of this.#waiting.splice(0)) fail(error)
    } finally {
      this.#isTaken = false
    }
  }
}
