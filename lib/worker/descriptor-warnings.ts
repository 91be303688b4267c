/**
 * Node's book-keeping of descriptors, in groot's own threads.
 *
 * A thread that was started by another takes that book-keeping over from it, whatever startThread() asks for. Then Node warns of
 * each descriptor that a system call opened and `fs` closes. Closing it is right, so those warnings are dropped; all others
 * are told.
 */
const UNTRUE = /^File descriptor \d+ closed but not opened in unmanaged mode$/

/** For threads of groot alone: the process of a thread is its own. */
export function dropDescriptorWarnings(): void {
  const emit = process.emitWarning.bind(process) as (...values: unknown[]) => void
  process.emitWarning = (warning: unknown, ...rest: unknown[]): void => {
    if (typeof warning !== 'string' || !UNTRUE.test(warning)) emit(warning, ...rest)
  }
}
