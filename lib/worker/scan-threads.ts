/**
 * The threads that read for scans. One that is done stays for a moment: who scans once may scan again, and a thread takes some
 * 25 ms to start, and is slow at first.
 */
import type { Worker } from 'node:worker_threads'
import type { ToCrew, ToScanThread } from './scan-crew.js'
import { startThread } from './threads.js'

const IDLE_MS = 2000

export interface ThreadListeners {
  readonly message: (message: ToCrew) => void
  /** It ends after that. */
  readonly error: (error: unknown) => void
  readonly exit: (status: number) => void
}

interface Spare {
  readonly worker: Worker
  readonly timer: NodeJS.Timeout
  readonly unlisten: () => void
}

const spares: Spare[] = []

/** A thread that has nothing open and that nobody listens to. */
export function takeScanThread(): Worker {
  const spare = spares.pop()
  if (spare === undefined) return startThread('#scan')
  clearTimeout(spare.timer)
  spare.unlisten()
  spare.worker.ref()
  return spare.worker
}

/** @returns what ends it */
export function listenTo(worker: Worker, { message, error, exit }: ThreadListeners): () => void {
  worker.on('message', message).on('error', error).on('exit', exit)
  return () => void worker.off('message', message).off('error', error).off('exit', exit)
}

/**
 * Waits until a thread has let go of everything. It must be at work still, and nobody listen to it any more: what it says until
 * then is nobody's concern.
 */
export function giveBackScanThread(worker: Worker): Promise<void> {
  return new Promise((resolve) => {
    const unlisten = listenTo(worker, {
      message: ({ kind }) => {
        if (kind !== 'ended') return
        unlisten()
        // At once: its end must not be missed.
        keep(worker)
        resolve()
      },
      error: () => {},
      exit: () => resolve(),
    })
    worker.postMessage({ kind: 'end' } satisfies ToScanThread)
  })
}

function keep(worker: Worker): void {
  const forget = () => {
    const at = spares.findIndex((spare) => spare.worker === worker)
    if (at !== -1) spares.splice(at, 1)
  }
  const timer = setTimeout(() => {
    forget()
    void worker.terminate()
  }, IDLE_MS)
  timer.unref()
  const unlisten = listenTo(worker, { message: () => {}, error: () => {}, exit: forget })
  worker.unref()
  spares.push({ worker, timer, unlisten })
}
