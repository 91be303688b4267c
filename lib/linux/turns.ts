/**
 * A few at a time, in the order in which they came.
 */
export class Turns {
  #free: number
  readonly #waiting: (() => void)[] = []

  /** @param size how many at most */
  constructor(size: number) {
    this.#free = size
  }

  /** Does some work when it is its turn. */
  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#free === 0) await new Promise<void>((resolve) => this.#waiting.push(resolve))
    else this.#free--
    try {
      return await work()
    } finally {
      const next = this.#waiting.shift()
      if (next === undefined) this.#free++
      else next()
    }
  }
}
