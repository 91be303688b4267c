/**
 * Loop devices, for kernels that mount no file without one.
 */
import { pathString } from './c-string.js'
import { calls } from './calls.js'
import {
  AT_FDCWD,
  LO_FLAGS_AUTOCLEAR,
  LO_FLAGS_READ_ONLY,
  LOOP_CONFIG,
  LOOP_CONFIGURE,
  LOOP_CTL_GET_FREE,
  O_RDONLY,
  O_RDWR,
} from './constants.js'
import { ERRNO } from './errno.js'
import { close, failed, openAt } from './files.js'

const TRIES = 64 // as many as may look for a free device at the same moment

export interface LoopDevice {
  readonly path: string
  /** The device lives while this descriptor is open or it is mounted. */
  readonly fd: number
}

/** A read-only device over a file; the kernel frees it when nobody uses it any more. */
export function attachLoop(file: number): LoopDevice {
  const control = openAt(AT_FDCWD, pathString('/dev/loop-control'), O_RDWR)
  try {
    for (let left = TRIES; ; left--) {
      const number = calls().ioctlNumber(control, LOOP_CTL_GET_FREE, 0)
      if (number < 0) failed('ioctl LOOP_CTL_GET_FREE')
      const path = `/dev/loop${number}`
      const fd = openAt(AT_FDCWD, pathString(path), O_RDONLY)
      if (configure(fd, file)) return { path, fd }
      const errno = calls().errno()
      close(fd)
      // Another process was quicker with the device that was free.
      if (errno !== ERRNO.EBUSY || left === 0) failed('ioctl LOOP_CONFIGURE', pathString(path))
    }
  } finally {
    close(control)
  }
}

function configure(device: number, file: number): boolean {
  const config = Buffer.alloc(LOOP_CONFIG.size)
  config.writeUInt32LE(file, LOOP_CONFIG.fd)
  config.writeUInt32LE(512, LOOP_CONFIG.blockSize) // any sector size will do: EROFS asks for its own blocks
  config.writeUInt32LE(LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR, LOOP_CONFIG.flags)
  return calls().ioctlMemory(device, LOOP_CONFIGURE, config) === 0
}
