/**
 * Starting the threads of groot.
 */
import { createRequire } from 'node:module'
import { Worker } from 'node:worker_threads'

/**
 * Starts a thread by its name in package.json's imports, which leads to the compiled file wherever this module was
 * loaded from.
 */
export function startThread(name: '#engine' | '#ingest' | '#scan'): Worker {
  return new Worker(createRequire(import.meta.url).resolve(name), {
    // Without the flags of the process, which may be of a kind that a thread refuses (--input-type).
    execArgv: [],
    // Descriptors come and go by system calls that Node does not see: its book-keeping would warn of them, and close
    // numbers that meanwhile mean something else.
    trackUnmanagedFds: false,
    // Of what these make little lives long; the default lets three times as much pile up before it is looked through.
    ...(name === '#engine' ? {} : { resourceLimits: { maxYoungGenerationSizeMb: 8 } }),
  })
}
