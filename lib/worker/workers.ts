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
  #crew: Promise<Crew> | null = null
  #pool: WorkerPool | null = null

  /** @param store its directory */
  constructor(store: string) {
    this.#store = store
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

  /** Ends the threads that have nothing to do. */
  trim(): void {
    this.#pool?.trim()
  }

  async close(): Promise<void> {
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
