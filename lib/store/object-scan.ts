/**
 * Which objects are on disk, and what they take. Reads names and sizes, never contents; follows no symlink and leaves no
 * mount.
 */
import { byteString, printable } from '../bytes.js'
import { isVerityDigest, type VerityDigest } from '../digest.js'
import { isErrno } from '../errors.js'
import { close, openDirectory, openDirectoryAt } from '../linux/files.js'
import { readBatches } from '../linux/read-directory.js'
import type { Work } from '../linux/slices.js'
import { type FileStat, mountIdOf, statAt } from '../linux/stat.js'
import type { StoreLayout } from './layout.js'

export interface ObjectSink {
  /** @param bytes of blocks on disk */
  object(digest: VerityDigest, bytes: number): void
  /** Something that is no part of a store. @param name below `objects/` */
  stray(name: string): void
}

export function* scanObjects(layout: StoreLayout, sink: ObjectSink): Work<void> {
  const objects = openDirectory(byteString(layout.objects))
  try {
    const mountId = mountIdOf(objects)
    const prefixes: string[] = []
    for (const batch of readBatches(objects)) {
      for (const { name } of batch) {
        if (/^[0-9a-f]{2}$/.test(name)) prefixes.push(name)
        else sink.stray(printable(name))
      }
    }
    for (const prefix of prefixes.sort()) {
      const fd = openOwnDirectory(objects, prefix, mountId)
      if (fd === null) {
        sink.stray(prefix)
        continue
      }
      try {
        yield* scanPrefix(fd, prefix, sink)
      } finally {
        close(fd)
      }
    }
  } finally {
    close(objects)
  }
}

function* scanPrefix(fd: number, prefix: string, sink: ObjectSink): Work<void> {
  for (const batch of readBatches(fd)) {
    for (const { name } of batch) {
      const digest = prefix + name
      if (!isVerityDigest(digest)) sink.stray(`${prefix}/${printable(name)}`)
      else {
        const stat = statIfThere(fd, name)
        if (stat !== null) sink.object(digest, stat.blocks * 512)
      }
      yield
    }
  }
}

/** Null for what is no directory, or another filesystem mounted in its place. */
function openOwnDirectory(parent: number, name: string, mountId: number): number | null {
  let fd: number
  try {
    fd = openDirectoryAt(parent, byteString(name))
  } catch (error) {
    if (isErrno(error, 'ENOTDIR', 'ELOOP', 'ENOENT')) return null
    throw error
  }
  if (mountIdOf(fd) === mountId) return fd
  close(fd)
  return null
}

function statIfThere(directory: number, name: Parameters<typeof statAt>[1]): FileStat | null {
  try {
    return statAt(directory, name)
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return null
    throw error
  }
}
