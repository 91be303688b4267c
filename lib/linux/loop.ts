/**
 * Loop devices: files as block devices, for what can only be mounted from one.
 */
import { existsSync, readFileSync } from 'node:fs'
import { isErrno } from '../errors.js'
import { pathString } from './c-string.js'
import { calls } from './calls.js'
import {
  AT_FDCWD,
  LO_FLAGS_AUTOCLEAR,
  LO_FLAGS_READ_ONLY,
  LOOP_CONFIG,
  LOOP_CONFIGURE,
  LOOP_CTL_GET_FREE,
  LOOP_GET_STATUS64,
  LOOP_INFO64,
  LOOP_SET_CAPACITY,
  O_RDONLY,
  O_RDWR,
} from './constants.js'
import { ERRNO } from './errno.js'
import { close, failed, openAt } from './files.js'
import { namesIn } from './names.js'
import { statDescriptor } from './stat.js'

const TRIES = 64 // as many as may look for a free device at the same moment

export interface LoopDevice {
  readonly path: string
  /** The device lives while this descriptor is open or it is mounted. */
  readonly fd: number
}

/** A device over a file, which is only read; the kernel frees it when nobody uses it any more. */
export function attachLoop(file: number): LoopDevice {
  return attach(file, false)
}

/**
 * The same for a file that is written: the device that there is over it already, as another mount namespace may have it mounted.
 * A filesystem that is mounted from two devices would be two, which write over one another.
 */
export function attachWritableLoop(file: number): LoopDevice {
  return attachedTo(file) ?? attach(file, true)
}

function attachedTo(file: number): LoopDevice | null {
  const { device, inode } = statDescriptor(file)
  for (const name of namesIn('/sys/block')) {
    if (!existsSync(`/sys/block/${name}/loop`)) continue
    const path = `/dev/${name}`
    let fd: number
    try {
      fd = openAt(AT_FDCWD, pathString(path), O_RDWR)
    } catch (error) {
      // It is only read, or was freed meanwhile.
      if (isErrno(error)) continue
      throw error
    }
    // It stays what it is as long as it is open.
    const info = Buffer.alloc(LOOP_INFO64.size)
    const isAttached = calls().ioctlMemory(fd, LOOP_GET_STATUS64, info) === 0
    const isSame =
      deviceNumber(info.readBigUInt64LE(LOOP_INFO64.device)) === device &&
      info.readBigUInt64LE(LOOP_INFO64.inode) === inode
    if (isAttached && isSame) return { path, fd }
    close(fd)
  }
  return null
}

/** As the kernel writes it for user space (include/linux/kdev_t.h, new_encode_dev), to FileStat's form. */
function deviceNumber(encoded: bigint): number {
  const low = Number(BigInt.asUintN(32, encoded))
  const minor = (low & 0xff) | ((low >>> 12) & 0xfff00)
  return ((low >>> 8) & 0xfff) * 2 ** 20 + minor
}

function attach(file: number, isWritable: boolean): LoopDevice {
  const control = openAt(AT_FDCWD, pathString('/dev/loop-control'), O_RDWR)
  try {
    for (let left = TRIES; ; left--) {
      const number = calls().ioctlNumber(control, LOOP_CTL_GET_FREE, 0)
      if (number < 0) failed('ioctl LOOP_CTL_GET_FREE')
      const path = `/dev/loop${number}`
      const fd = openAt(AT_FDCWD, pathString(path), isWritable ? O_RDWR : O_RDONLY)
      if (configure(fd, file, isWritable)) return { path, fd }
      const errno = calls().errno()
      close(fd)
      // Another process was quicker with the device that was free.
      if (errno !== ERRNO.EBUSY || left === 0) failed('ioctl LOOP_CONFIGURE', pathString(path))
    }
  } finally {
    close(control)
  }
}

/**
 * The device that a mounted filesystem is on, by the number of its device (FileStat.device); null when that is no loop
 * device.
 */
export function loopDeviceOf(device: number): string | null {
  const number = `${Math.floor(device / 2 ** 20)}:${device % 2 ** 20}`
  const name = /^DEVNAME=(loop\d+)$/m.exec(readFileSync(`/sys/dev/block/${number}/uevent`, 'utf8'))?.[1]
  return name === undefined ? null : `/dev/${name}`
}

/** Has a device see that its file has become larger. */
export function growLoop(path: string): void {
  const fd = openAt(AT_FDCWD, pathString(path), O_RDWR)
  try {
    if (calls().ioctlNumber(fd, LOOP_SET_CAPACITY, 0) < 0) failed('ioctl LOOP_SET_CAPACITY', pathString(path))
  } finally {
    close(fd)
  }
}

function configure(device: number, file: number, isWritable: boolean): boolean {
  const config = Buffer.alloc(LOOP_CONFIG.size)
  config.writeUInt32LE(file, LOOP_CONFIG.fd)
  config.writeUInt32LE(512, LOOP_CONFIG.blockSize) // any sector size will do: EROFS asks for its own blocks
  const access = isWritable ? 0 : LO_FLAGS_READ_ONLY
  config.writeUInt32LE(access | LO_FLAGS_AUTOCLEAR, LOOP_CONFIG.flags)
  return calls().ioctlMemory(device, LOOP_CONFIGURE, config) === 0
}
