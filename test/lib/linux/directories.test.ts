import { mkdirSync, renameSync, symlinkSync, writeFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { type ByteString, byteString } from '../../../lib/bytes.js'
import { pathString } from '../../../lib/linux/c-string.js'
import { DirectoryChain } from '../../../lib/linux/directory-chain.js'
import {
  close,
  makeDirectoryAt,
  makeNodeAt,
  openDirectory,
  openDirectoryAt,
} from '../../../lib/linux/files.js'
import { mountPointsBelow, parseMountPoints } from '../../../lib/linux/mount-points.js'
import { readBatches, readDirectory } from '../../../lib/linux/read-directory.js'
import { isSameFile, statDescriptor } from '../../../lib/linux/stat.js'
import { openBelow, thrownBy, useScratch } from './scratch.js'

const scratch = useScratch()

describe('reading a directory', () => {
  it('gives all names as bytes, with their kinds', () => {
    const directory = openDirectory(pathString(scratch.path))
    mkdirSync(`${scratch.path}/d`)
    writeFileSync(Buffer.from(`${scratch.path}/\xff\xfe`, 'latin1'), '')
    symlinkSync('x', `${scratch.path}/l`)
    makeNodeAt(directory, byteString('p'), 'fifo', 0o600)
    makeNodeAt(directory, byteString('s'), 'socket', 0o600)
    makeDirectoryAt(directory, 'x'.repeat(255) as ByteString, 0o700)
    const items = readDirectory(directory).sort((a, b) => (a.name < b.name ? -1 : 1))
    expect(items).toEqual([
      { name: 'd', kind: 'directory' },
      { name: 'l', kind: 'symlink' },
      { name: 'p', kind: 'fifo' },
      { name: 's', kind: 'socket' },
      { name: 'x'.repeat(255), kind: 'directory' },
      { name: '\xff\xfe', kind: 'file' },
    ])
    // From the start, every time.
    expect(readDirectory(directory)).toHaveLength(6)
    close(directory)
  })

  it('gives many names in batches, each once', () => {
    for (let i = 0; i < 1500; i++) mkdirSync(`${scratch.path}/${'n'.repeat(60)}${i}`)
    const directory = openDirectory(pathString(scratch.path))
    const sizes = Array.from(readBatches(directory), (batch) => batch.length)
    expect(sizes.length).toBeGreaterThan(2)
    expect(sizes.reduce((sum, size) => sum + size)).toBe(1500)
    expect(new Set(readDirectory(directory).map(({ name }) => name)).size).toBe(1500)
    close(directory)
  })
})

describe('a chain of directories', () => {
  const enter = (chain: DirectoryChain, name: string): void =>
    chain.enter(byteString(name), openDirectoryAt(chain.fd, byteString(name)))

  it('keeps few of them open and finds the way back', () => {
    let path = scratch.path
    for (let i = 0; i < 20; i++) path += `/d${i}`
    mkdirSync(path, { recursive: true })
    const chain = new DirectoryChain(openDirectory(pathString(scratch.path)), 3)
    const stats = [statDescriptor(chain.fd)]
    for (let i = 0; i < 20; i++) {
      enter(chain, `d${i}`)
      stats.push(statDescriptor(chain.fd))
    }
    expect(openBelow(scratch.path)).toHaveLength(4)
    expect(chain.depth).toBe(20)
    expect(chain.path()).toBe(path.slice(scratch.path.length + 1))
    for (let depth = 19; depth >= 5; depth--) {
      chain.leave()
      expect(chain.depth).toBe(depth)
      expect(isSameFile(statDescriptor(chain.fd), stats[depth]!)).toBe(true)
    }
    // Down again from half way up.
    enter(chain, 'd5')
    enter(chain, 'd6')
    expect(chain.pathTo(byteString('f'))).toBe('d0/d1/d2/d3/d4/d5/d6/f')
    while (chain.depth > 0) chain.leave()
    expect(isSameFile(statDescriptor(chain.fd), stats[0]!)).toBe(true)
    expect(chain.pathTo(byteString('f'))).toBe('f')
    chain[Symbol.dispose]()
    expect(openBelow(scratch.path)).toEqual([])
  })

  it('ends in an error when a directory on the way back was moved elsewhere', () => {
    mkdirSync(`${scratch.path}/a/b/c/d`, { recursive: true })
    mkdirSync(`${scratch.path}/elsewhere`)
    const chain = new DirectoryChain(openDirectory(pathString(scratch.path)), 2)
    for (const name of ['a', 'b', 'c', 'd']) enter(chain, name)
    renameSync(`${scratch.path}/a/b/c`, `${scratch.path}/elsewhere/c`)
    chain.leave()
    expect(thrownBy(() => chain.leave())).toMatchObject({
      kind: 'busy',
      code: 'tree-changed',
      facts: { path: 'a/b/c' },
    })
    chain[Symbol.dispose]()
    expect(openBelow(scratch.path)).toEqual([])
  })
})

describe('mount points', () => {
  it('are read from the fifth field, with its escapes', () => {
    const table =
      '22 1 8:1 / / rw - ext4 /dev/sda1 rw\n' +
      '30 22 0:5 /x\\040y /a\\040b\\134c\\012 rw,nosuid shared:1 master:2 - tmpfs none rw\n'
    expect(parseMountPoints(table)).toEqual(['/', '/a b\\c\n'])
  })

  it('are those at and below a path, not those beside it', () => {
    expect(mountPointsBelow(byteString('/proc'))).toContain('/proc')
    expect(mountPointsBelow(byteString('/'))).toContain('/proc')
    expect(mountPointsBelow(byteString('/pro'))).toEqual([])
    expect(mountPointsBelow(byteString(scratch.path))).toEqual([])
  })
})
