import { lstatSync, statfsSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { byteString } from '../../../lib/bytes.js'
import { pathString } from '../../../lib/linux/c-string.js'
import { close, makeNodeAt, openDirectory, setTimesAt } from '../../../lib/linux/files.js'
import {
  isSameFile,
  mountIdFromProc,
  mountIdOf,
  statAt,
  statDescriptor,
  statPath,
} from '../../../lib/linux/stat.js'
import { statFilesystem, statFilesystemOf } from '../../../lib/linux/statfs.js'
import { isRoot, thrownBy, useScratch } from './scratch.js'

const scratch = useScratch()

describe('stat', () => {
  it('says of a file what Node says, and nanoseconds exactly', () => {
    const path = `${scratch.path}/f`
    writeFileSync(path, 'x'.repeat(5000), { mode: 0o640 })
    const directory = openDirectory(pathString(scratch.path))
    setTimesAt(directory, byteString('f'), -5n, 7)
    close(directory)
    const node = lstatSync(path, { bigint: true })
    const found = statPath(byteString(path))
    expect(found).toMatchObject({
      kind: 'file',
      mode: Number(node.mode) & 0o7777,
      uid: Number(node.uid),
      gid: Number(node.gid),
      nlink: 1,
      size: 5000,
      blocks: Number(node.blocks),
      inode: node.ino,
      mtimeSeconds: -5n,
      mtimeNanoseconds: 7,
      major: 0,
      minor: 0,
      isMountRoot: false,
    })
  })

  it('tells kinds apart and never follows a symlink', () => {
    const directory = openDirectory(pathString(scratch.path))
    symlinkSync('.', `${scratch.path}/link`)
    makeNodeAt(directory, byteString('fifo'), 'fifo', 0o600)
    makeNodeAt(directory, byteString('socket'), 'socket', 0o600)
    const kinds = ['link', 'fifo', 'socket'].map((name) => statAt(directory, byteString(name)).kind)
    expect(kinds).toEqual(['symlink', 'fifo', 'socket'])
    expect(statDescriptor(directory).kind).toBe('directory')
    expect(isSameFile(statDescriptor(directory), statPath(byteString(scratch.path)))).toBe(true)
    expect(isSameFile(statDescriptor(directory), statAt(directory, byteString('link')))).toBe(false)
    expect(thrownBy(() => statAt(directory, byteString('none')))).toMatchObject({
      code: 'ENOENT',
      syscall: 'statx',
    })
    close(directory)
  })

  it('keeps sizes beyond 32 bits', () => {
    writeFileSync(`${scratch.path}/large`, '')
    truncateSync(`${scratch.path}/large`, 5_000_000_001)
    expect(statPath(byteString(`${scratch.path}/large`))).toMatchObject({ size: 5_000_000_001, blocks: 0 })
  })

  it.skipIf(!isRoot)('splits the numbers of devices (needs root)', () => {
    const directory = openDirectory(pathString(scratch.path))
    makeNodeAt(directory, byteString('d'), 'block', 0o600, 4095, 1_048_575)
    expect(statAt(directory, byteString('d'))).toMatchObject({ kind: 'block', major: 4095, minor: 1_048_575 })
    close(directory)
  })

  it('knows mounts: another for /proc, and its root', () => {
    const here = openDirectory(pathString(scratch.path))
    const proc = openDirectory(pathString('/proc'))
    expect(mountIdOf(here)).toBe(mountIdFromProc(here))
    expect(mountIdOf(proc)).toBe(mountIdFromProc(proc))
    expect(mountIdOf(here)).not.toBe(mountIdOf(proc))
    expect(statDescriptor(proc).isMountRoot).toBe(true)
    close(here)
    close(proc)
  })
})

describe('statFilesystem', () => {
  it('says what Node says, in bytes', () => {
    const node = statfsSync(scratch.path)
    const found = statFilesystem(scratch.path)
    const fd = openDirectory(pathString(scratch.path))
    expect(statFilesystemOf(fd)).toMatchObject({ type: found.type, totalBytes: found.totalBytes })
    close(fd)
    expect(found.type).toBe(node.type)
    expect(found.totalBytes).toBe(node.blocks * node.bsize)
    expect(found.totalFiles).toBe(node.files)
    expect(found.availableBytes).toBeGreaterThan(0)
    expect(found.freeBytes).toBeGreaterThanOrEqual(found.availableBytes)
    expect(found.freeFiles).toBeLessThanOrEqual(found.totalFiles)
    expect(thrownBy(() => statFilesystem(`${scratch.path}/none`))).toMatchObject({
      code: 'ENOENT',
      syscall: 'statfs',
    })
  })
})
