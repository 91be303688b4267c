/**
 * Questions to a person at the terminal. Asked on standard error, so that answers on standard output stay what they are.
 */
import { Writable } from 'node:stream'
import { UsageError } from '../lib/index.js'

/**
 * Asks a question and reads one line.
 *
 * @param options `hidden` for what must not be shown while it is typed
 * @returns the line without its end
 * @throws {UsageError} `usage-invalid` when the input ends
 * @throws the reason of the signal
 */
export type Ask = (question: string, options: { readonly hidden: boolean }) => Promise<string>

/** @returns null when nobody is there to answer */
export function askAtTerminal(signal: AbortSignal): Ask | null {
  const { stdin, stderr } = process
  if (!stdin.isTTY || !stderr.isTTY) return null
  return async (question, { hidden }) => {
    const { createInterface } = process.getBuiltinModule('node:readline/promises')
    let isMuted = false
    const output = new Writable({
      write: (chunk: Buffer, _encoding, done) => {
        // Done at once: what is written while the question is, must not wait until all is muted.
        if (!isMuted) stderr.write(chunk)
        done()
      },
    })
    const reader = createInterface({ input: stdin, output, terminal: true, historySize: 0 })
    // In raw mode Ctrl-C is a key like any other, and readline's to tell.
    reader.on('SIGINT', () => process.kill(process.pid, 'SIGINT'))
    const closed = new Promise<string>((_, reject) => {
      reader.once('close', () => reject(new UsageError('usage-invalid', 'Cannot go on: the input has ended')))
    })
    closed.catch(() => {}) // it is closed after every answer, too
    try {
      const line = reader.question(question, { signal })
      // After the question was written, before anything is typed.
      isMuted = hidden
      return await Promise.race([line, closed])
    } catch (error) {
      signal.throwIfAborted()
      throw error
    } finally {
      reader.close()
      if (hidden) stderr.write('\n')
    }
  }
}
