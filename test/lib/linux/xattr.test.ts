import { execFileSync } from 'node:child_process'
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { beforeEach, describe, expect, it } from 'vitest'
import { type ByteString, byteString } from '../../../lib/bytes.js'
import { pathString } from '../../../lib/linux/c-string.js'
import { O_RDONLY } from '../../../lib/linux/constants.js'
import { close, openAt, openDirectory } from '../../../lib/linux/files.js'
import { removeXattr, setXattr, setXattrAt, xattrsAt, xattrsOf } from '../../../lib/linux/xattr.js'
import { isRoot, thrownBy, useScratch } from './scratch.js'

const scratch = useScratch()
let directory: number
let file: number

beforeEach(() => {
  writeFileSync(`${scratch.path}/f`, '')
  directory = openDirectory(pathString(scratch.path))
  file = openAt(directory, byteString('f'), O_RDONLY)
  return () => {
    close(file)
    close(directory)
  }
})

const allBytes = Array.from({ length: 256 }, (_, i) => String.fromCharCode(i)).join('') as ByteString

describe('attributes', () => {
  it('hold any bytes and come back by name in byte order', () => {
    setXattr(file, byteString('user.z'), allBytes)
    setXattr(file, byteString('user.empty'), '' as ByteString)
    setXattrAt(directory, byteString('f'), 'user.\xff\x01' as ByteString, byteString('by name'))
    const wanted = [
      ['user.empty', ''],
      ['user.z', allBytes],
      ['user.\xff\x01', 'by name'],
    ]
    expect([...xattrsOf(file)]).toEqual(wanted)
    expect([...xattrsAt(directory, byteString('f'))]).toEqual(wanted)
    removeXattr(file, byteString('user.z'))
    expect(xattrsOf(file).has(byteString('user.z'))).toBe(false)
    expect(thrownBy(() => removeXattr(file, byteString('user.z')))).toMatchObject({
      code: 'ENODATA',
      syscall: 'fremovexattr',
      path: 'user.z',
    })
  })

  it('are set on directories, and are none where there are none', () => {
    mkdirSync(`${scratch.path}/d`)
    expect(xattrsAt(directory, byteString('d')).size).toBe(0)
    setXattrAt(directory, byteString('d'), byteString('user.on'), byteString('directory'))
    expect([...xattrsAt(directory, byteString('d'))]).toEqual([['user.on', 'directory']])
    const proc = openDirectory(pathString('/proc/self'))
    expect(xattrsOf(proc).size).toBe(0)
    close(proc)
  })

  it('of a symlink are its own', () => {
    setXattr(file, byteString('user.of'), byteString('target'))
    symlinkSync('f', `${scratch.path}/link`)
    expect(xattrsAt(directory, byteString('link')).size).toBe(0)
    expect(
      thrownBy(() => setXattrAt(directory, byteString('link'), byteString('user.a'), byteString('b'))),
    ).toMatchObject({
      code: 'EPERM',
      syscall: 'lsetxattr',
    })
    expect([...xattrsOf(file)]).toEqual([['user.of', 'target']])
  })

  it.skipIf(!isRoot)('of a symlink may be trusted ones (needs root)', () => {
    symlinkSync('f', `${scratch.path}/link`)
    setXattrAt(directory, byteString('link'), byteString('trusted.a'), byteString('b'))
    expect([...xattrsAt(directory, byteString('link'))]).toEqual([['trusted.a', 'b']])
    expect(xattrsOf(file).size).toBe(0)
  })

  it('fail with the attribute as their path', () => {
    expect(thrownBy(() => setXattr(file, byteString('nonsense'), byteString('x')))).toMatchObject({
      code: 'ENOTSUP',
      syscall: 'fsetxattr',
      path: 'nonsense',
    })
  })

  it.skipIf(!isRoot)('may be as many and as large as the kernel takes (needs root, for a tmpfs)', () => {
    mkdirSync(`${scratch.path}/m`)
    execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', `${scratch.path}/m`])
    try {
      writeFileSync(`${scratch.path}/m/many`, '')
      const fd = openAt(directory, byteString('m/many'), O_RDONLY)
      // trusted: there before tmpfs took user attributes.
      const wanted = Array.from({ length: 2000 }, (_, i) => [`trusted.attribute-${i}`, `value ${i}`] as const)
      for (const [name, value] of wanted) setXattr(fd, byteString(name), byteString(value))
      setXattr(fd, byteString('trusted.large'), 'x'.repeat(65_536) as ByteString)
      const found = xattrsOf(fd)
      close(fd)
      expect(found.size).toBe(2001)
      expect(found.get(byteString('trusted.large'))?.length).toBe(65_536)
      expect(wanted.every(([name, value]) => found.get(byteString(name)) === value)).toBe(true)
    } finally {
      execFileSync('umount', [`${scratch.path}/m`])
    }
  })
})
