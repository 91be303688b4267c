/**
 * A thread that reads batches of files for one scan after the other. Entry file of a Worker; nothing imports it.
 */
import { parentPort } from 'node:worker_threads'
import { AbortedError, BugError } from '../errors.js'
import { hashBlocksTogether } from '../linux/sha256-lanes.js'
import type { Work } from '../linux/slices.js'
import { dropDescriptorWarnings } from './descriptor-warnings.js'
import type { ToCrew, ToScanThread } from './scan-crew.js'
import { FileScanner } from './scan-files.js'
import { packRecords } from './scan-records.js'
import { toWire } from './wire-error.js'

const port = parentPort
if (port === null) throw new BugError('Cannot run a scanning thread outside of a worker')
dropDescriptorWarnings()

// What is read before it is there is hashed as well.
hashBlocksTogether()

let scanner: FileScanner | null = null
let aborted: Int32Array = new Int32Array(1)

port.on('message', (message: ToScanThread) => {
  try {
    receive(message)
  } catch (error) {
    send({ kind: 'failed', error: toWire(error) })
  }
})

function receive(message: ToScanThread): void {
  switch (message.kind) {
    case 'begin':
      scanner = new FileScanner(message.settings)
      aborted = new Int32Array(message.aborted)
      return
    case 'batch':
      if (scanner === null) throw new BugError('Cannot read a batch before the scan has begun')
      return send({
        kind: 'done',
        id: message.id,
        packed: packRecords(unlessAborted(scanner.scan(message.batch))),
      })
    case 'end':
      scanner?.close()
      scanner = null
      return send({ kind: 'ended' })
    default:
      message satisfies never
  }
}

/** A shared flag, not a message: synchronous work never returns to the event loop to see one. */
function unlessAborted<T>(work: Work<T>): T {
  for (;;) {
    if (Atomics.load(aborted, 0) !== 0) {
      work.return(undefined as T)
      throw new AbortedError()
    }
    const step = work.next()
    if (step.done) return step.value
  }
}

function send(message: ToCrew): void {
  port!.postMessage(message, message.kind === 'done' ? [message.packed.rows.buffer] : [])
}
