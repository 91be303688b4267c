/**
 * The threads that read for scans. One that is done stays for a moment: who scans once may scan again, and a thread takes some
 * 25 ms to start, and is slow at first.
 */
import type { Worker } from 'node:worker_threads'
import type { ToCrew, ToScanThread } from './scan-crew.js'
import { startThread } from './threads.js'

const IDLE_MS = 2000

interface Spare {
  readonly worker: Worker
  readonly timer: NodeJS.Timeout
}

const spares: Spare[] = []

/** A thread that has nothing open and that nobody listens to. */
export function takeScanThread(): Worker {
  const spare = spares.pop()
  if (spare === undefined) return startThread('#scan')
  clearTimeout(spare.timer)
  unlisten(spare.worker)
  spare.worker.ref()
  return spare.worker
}

/** Waits until a thread has let go of everything. It must be at work still; what it says until then is nobody's concern. */
export function giveBackScanThread(worker: Worker): Promise<void> {
  unlisten(worker)
  return new Promise((resolve) => {
    worker.on('error', () => {}) // it ends after that
    worker.once('exit', () => resolve())
    worker.on('message', ({ kind }: ToCrew) => {
      if (kind !== 'ended') return
      // At once: its end must not be missed.
      keep(worker)
      resolve()
    })
    worker.postMessage({ kind: 'end' } satisfies ToScanThread)
  })
}

function keep(worker: Worker): void {
  const timer = setTimeout(() => {
    forget()
    void worker.terminate()
  }, IDLE_MS)
  timer.unref()
  const spare = { worker, timer }
  const forget = () => {
    const at = spares.indexOf(spare)
    if (at !== -1) spares.splice(at, 1)
  }
  unlisten(worker)
  worker.on('error', () => {})
  worker.once('exit', forget)
  worker.unref()
  spares.push(spare)
}

/** Node has listeners of its own on a worker, which go by other names. */
function unlisten(worker: Worker): void {
  for (const event of ['message', 'error', 'exit']) worker.removeAllListeners(event)
}
