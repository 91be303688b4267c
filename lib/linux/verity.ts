/**
 * fs-verity (Documentation/filesystems/fsverity.rst): files whose every read the kernel checks against one digest.
 */
import { calls } from './calls.js'
import { FS_IOC_ENABLE_VERITY, FS_IOC_MEASURE_VERITY, VERITY_DIGEST, VERITY_ENABLE } from './constants.js'
import { ERRNO, errnoError } from './errno.js'
import { uninterrupted } from './files.js'

const ALGORITHMS = { sha256: 1, sha512: 2 } as const
const MAX_DIGEST_BYTES = 64
const BLOCK_BYTES = 4096

/** What the errors mean together: neither this kernel nor this filesystem has it. */
const WITHOUT: readonly number[] = [ERRNO.ENOTTY, ERRNO.EOPNOTSUPP, ERRNO.ENOSYS]

export interface MeasuredDigest {
  readonly algorithm: 'sha256' | 'sha512'
  /** Lower-case hex. */
  readonly digest: string
}

/**
 * Makes a file immutable and checked by the kernel. Reads it once; done before is success.
 *
 * @param fd open for reading only, and nobody has the file open for writing
 * @returns false where the filesystem or the kernel has no fs-verity
 * @throws ETXTBSY while somebody has it open for writing
 */
export function enableVerity(fd: number, algorithm: 'sha256' | 'sha512' = 'sha256'): boolean {
  const argument = Buffer.alloc(VERITY_ENABLE.size)
  argument.writeUInt32LE(1, VERITY_ENABLE.version)
  argument.writeUInt32LE(ALGORITHMS[algorithm], VERITY_ENABLE.algorithm)
  argument.writeUInt32LE(BLOCK_BYTES, VERITY_ENABLE.blockSize)
  if (uninterrupted((libc) => libc.ioctlMemory(fd, FS_IOC_ENABLE_VERITY, argument)) === 0) return true
  const errno = calls().errno()
  if (errno === ERRNO.EEXIST) return true
  if (WITHOUT.includes(errno)) return false
  throw errnoError(errno, 'ioctl FS_IOC_ENABLE_VERITY')
}

/** The digest that the kernel holds a file to; null where it holds it to none. */
export function measureVerity(fd: number): MeasuredDigest | null {
  const answer = Buffer.alloc(VERITY_DIGEST.digest + MAX_DIGEST_BYTES)
  answer.writeUInt16LE(MAX_DIGEST_BYTES, VERITY_DIGEST.size)
  if (uninterrupted((libc) => libc.ioctlMemory(fd, FS_IOC_MEASURE_VERITY, answer)) !== 0) {
    const errno = calls().errno()
    if (errno === ERRNO.ENODATA || WITHOUT.includes(errno)) return null
    throw errnoError(errno, 'ioctl FS_IOC_MEASURE_VERITY')
  }
  const algorithm = answer.readUInt16LE(VERITY_DIGEST.algorithm) === ALGORITHMS.sha512 ? 'sha512' : 'sha256'
  const bytes = answer.readUInt16LE(VERITY_DIGEST.size)
  return { algorithm, digest: answer.toString('hex', VERITY_DIGEST.digest, VERITY_DIGEST.digest + bytes) }
}
