/**
 * Taking away what stands by mounts in the place of a rootfs.
 */
import { BusyError, isErrno } from '../errors.js'
import { unmountStacked } from '../linux/mount-context.js'

/**
 * @param most how many mounts on one place are taken away
 * @returns whether there was something
 * @throws {BusyError} `mount-busy`
 */
export function unmountRootfs(at: string, most: number): boolean {
  try {
    return unmountStacked(at, most)
  } catch (error) {
    if (!isErrno(error, 'EBUSY')) throw error
    const message = `Cannot unmount "${at}": a process uses it, or something is mounted in it`
    throw new BusyError('mount-busy', message, { facts: { path: at }, cause: error, temporary: true })
  }
}
