/**
 * The thread that runs one job at a time for a pool. Entry file of a Worker; nothing imports it.
 */
import { parentPort } from 'node:worker_threads'
import { AbortedError, BugError } from '../errors.js'
import { syncFilesystem } from '../linux/sync.js'
import { dropDescriptorWarnings } from './descriptor-warnings.js'
import { type Job, runJob } from './jobs.js'
import type { ToPool, ToThread } from './pool.js'
import { fromWire, toWire, type WireError } from './wire-error.js'

const port = parentPort
if (port === null) throw new BugError('Cannot run an ingest thread outside of a worker')
dropDescriptorWarnings()

let stream: ChunkQueue | null = null
let announcing: Answer | null = null

port.on('message', (message: ToThread) => {
  switch (message.kind) {
    case 'job':
      stream = new ChunkQueue((bytes) => send({ kind: 'consumed', bytes }))
      void run(message.job, new Int32Array(message.aborted), stream)
      break
    case 'chunk':
      stream?.push(message.bytes)
      break
    case 'end':
      stream?.end(message.error)
      break
    case 'announced':
      if (message.error === null) announcing?.resolve(message.generation)
      else announcing?.reject(fromWire(message.error))
      break
    default:
      message satisfies never
  }
})

interface Answer {
  resolve(generation: string): void
  reject(error: Error): void
}

const DOING = {
  ingest: 'Cannot unpack a layer',
  'verify-layer': 'Cannot verify a layer',
  'verify-objects': 'Cannot verify the objects',
} as const satisfies Record<Job['kind'], string>

async function run(job: Job, aborted: Int32Array, queue: ChunkQueue): Promise<void> {
  try {
    const result = await runJob(job, {
      stream: queue,
      progress: (bytes) => send({ kind: 'progress', bytes }),
      recording: () => send({ kind: 'recording' }),
      recorded: () => send({ kind: 'recorded' }),
      // Nobody else works here.
      syncFilesystem: async (fd) => syncFilesystem(fd),
      announce: () =>
        new Promise((resolve, reject) => {
          announcing = { resolve, reject }
          send({ kind: 'announce' })
        }),
      checkAborted: () => {
        // A shared flag, not a message: synchronous work never returns to the event loop to see one.
        if (Atomics.load(aborted, 0) !== 0) throw new AbortedError()
      },
    })
    send({ kind: 'done', result })
  } catch (error) {
    send({ kind: 'failed', error: toWire(error, DOING[job.kind]) })
  }
}

function send(message: ToPool): void {
  port!.postMessage(message)
}

/** Chunks that were sent and not read yet. */
class ChunkQueue implements AsyncIterable<Uint8Array> {
  readonly #consumed: (bytes: number) => void
  readonly #chunks: Uint8Array[] = []
  #ended = false
  #error: WireError | null = null
  #wake: (() => void) | null = null

  constructor(consumed: (bytes: number) => void) {
    this.#consumed = consumed
  }

  push(bytes: Uint8Array): void {
    this.#chunks.push(bytes)
    this.#wake?.()
  }

  end(error: WireError | null): void {
    this.#ended = true
    this.#error = error
    this.#wake?.()
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    for (;;) {
      const chunk = this.#chunks.shift()
      if (chunk !== undefined) {
        yield chunk
        this.#consumed(chunk.length)
      } else if (this.#error !== null) {
        throw fromWire(this.#error)
      } else if (this.#ended) {
        return
      } else {
        await new Promise<void>((resolve) => {
          this.#wake = resolve
        })
        this.#wake = null
      }
    }
  }
}
