/**
 * Who does heavy work for a store: the pool of threads, and the caller's own thread. Loaded when there is some, as most calls
 * have none.
 */
import { availableParallelism } from 'node:os'
import type { CallerJobs } from './caller-jobs.js'
import type { WorkerPool } from './pool.js'

const MAX_TURNS = 8 // while one waits for a registry, others are read
const MAX_THREADS = 4 // some 50 MB each while they read a layer, and 300 MB is what all may take

export interface Crew {
  readonly pool: WorkerPool
  /** Jobs on this thread, a few in turns. */
  readonly here: CallerJobs
}

export class Workers {
  readonly #store: string
  readonly #keepMs: number
  #trimming: NodeJS.Timeout | null = null
  #crew: Promise<Crew> | null = null
  #pool: WorkerPool | null = null

  /**
   * @param store its directory
   * @param keepMs how long threads are kept that have nothing to do: one that has read a layer reads the next one faster
   */
  constructor(store: string, keepMs: number) {
    this.#store = store
    this.#keepMs = keepMs
  }

  crew(): Promise<Crew> {
    this.#crew ??= this.#load()
    return this.#crew
  }

  /** Starts a thread, so that the next job finds one. */
  warm(): void {
    // What fails here fails again where the thread is needed.
    this.crew().then(
      ({ pool }) => pool.warm(),
      () => {},
    )
  }

  /** Ends the threads that have nothing to do, when they have been kept long enough. */
  trim(): void {
    if (this.#keepMs === 0) return this.#pool?.trim()
    if (this.#trimming !== null) clearTimeout(this.#trimming)
    this.#trimming = setTimeout(() => this.#pool?.trim(), this.#keepMs)
    this.#trimming.unref()
  }

  async close(): Promise<void> {
    if (this.#trimming !== null) clearTimeout(this.#trimming)
    await (await this.#crew)?.pool.close()
  }

  async #load(): Promise<Crew> {
    const [{ WorkerPool }, { CallerJobs }] = await Promise.all([
      import('./pool.js'),
      import('./caller-jobs.js'),
    ])
    this.#pool = new WorkerPool(Math.max(1, Math.min(availableParallelism(), MAX_THREADS)))
    return { pool: this.#pool, here: new CallerJobs(MAX_TURNS, this.#store) }
  }
}
