import { execFileSync, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import {
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import fc from 'fast-check'
import { afterEach, describe, expect, it } from 'vitest'
import type { ByteString } from '../../../lib/bytes.js'
import { FileRing, MAX_RING_NAME_BYTES } from '../../../lib/linux/file-ring.js'
import { isRoot, useScratch } from './scratch.js'

const scratch = useScratch()
const isThere = (() => {
  using ring = FileRing.open(1)
  return ring !== null
})()
const MiB = 1024 * 1024
const canBtrfs = isRoot && spawnSync('mkfs.btrfs', ['--version']).status === 0

const undo: (() => void)[] = []
afterEach(() => {
  for (const step of undo.splice(0).reverse()) step()
})

/** A directory, as a ring takes it. */
function directory(path: string): number {
  const fd = openSync(path, 'r')
  undo.push(() => closeSync(fd))
  return fd
}

function name(value: string): ByteString {
  return value as ByteString
}

/** What this process has open, but for what comes and goes by itself. */
function openFiles(): string[] {
  const found: string[] = []
  for (const fd of readdirSync('/proc/self/fd')) {
    try {
      const to = readlinkSync(`/proc/self/fd/${fd}`)
      if (to.includes('io_uring') || to.startsWith(scratch.path)) found.push(to)
    } catch {
      // The descriptor that the directory was read by.
    }
  }
  return found.sort()
}

describe.skipIf(!isThere)('a ring of files (needs io_uring)', () => {
  it('writes what it was given, whatever the sizes and the order', () => {
    let run = 0
    const sizes = fc.array(fc.oneof(fc.integer({ min: 1, max: 9000 }), fc.integer({ min: 1, max: MiB })), {
      minLength: 1,
      maxLength: 40,
    })
    fc.assert(
      fc.property(sizes, fc.integer({ min: 1, max: 4 }), (lengths, workers) => {
        const path = `${scratch.path}/run-${++run}`
        mkdirSync(path)
        const contents = lengths.map((length) => randomBytes(length))
        const fd = openSync(path, 'r')
        {
          using ring = FileRing.open(workers)!
          for (const [number, bytes] of contents.entries()) {
            const given = Buffer.from(bytes)
            ring.create(fd, name(`${number}`), given, 0o444)
            given.fill(0) // the caller's again
          }
          ring.settle()
        }
        closeSync(fd)
        for (const [number, bytes] of contents.entries())
          expect(readFileSync(`${path}/${number}`).equals(bytes)).toBe(true)
        expect(readdirSync(path)).toHaveLength(contents.length)
      }),
      { numRuns: 15 },
    )
  })

  it('writes thousands of small files, below further directories too, with the mode that was asked for', () => {
    const path = `${scratch.path}/many`
    mkdirSync(path)
    mkdirSync(`${path}/ab`)
    const long = `ab/${'n'.repeat(MAX_RING_NAME_BYTES - 3)}`
    const fd = directory(path)
    using ring = FileRing.open(2)!
    for (let i = 0; i < 3000; i++) ring.create(fd, name(`ab/${i}`), Buffer.from(`content ${i}`), 0o444)
    ring.create(fd, name(long), Buffer.from('x'), 0o400)
    ring.settle()
    expect(readdirSync(`${path}/ab`)).toHaveLength(3001)
    for (const i of [0, 1, 1500, 2999]) expect(readFileSync(`${path}/ab/${i}`, 'utf8')).toBe(`content ${i}`)
    expect(statSync(`${path}/ab/7`).mode & 0o777).toBe(0o444)
    expect(statSync(`${path}/${long}`).mode & 0o777).toBe(0o400)
  })

  it('writes large files in pieces, some beside small ones, and closes them', () => {
    const path = `${scratch.path}/pieces`
    mkdirSync(path)
    const fd = directory(path)
    const before = openFiles()
    const large = randomBytes(5 * MiB + 17)
    {
      using ring = FileRing.open(2)!
      const file = ring.pieces(openSync(`${path}/large`, 'wx', 0o444), name('large'))
      for (let at = 0; at < large.length; at += 700_001) {
        file.put(large.subarray(at, at + 700_001), at)
        ring.create(fd, name(`small-${at}`), Buffer.from('small'), 0o444)
      }
      // Longer than what is copied at once, behind a hole.
      file.put(large.subarray(0, 3 * MiB), 8 * MiB)
      file.end()
      ring.settle()
    }
    expect(readFileSync(`${path}/large`).subarray(0, large.length).equals(large)).toBe(true)
    expect(
      readFileSync(`${path}/large`)
        .subarray(8 * MiB)
        .equals(large.subarray(0, 3 * MiB)),
    ).toBe(true)
    expect(openFiles()).toEqual(before)
  })

  it('tells what failed, by the file, and lets go of everything', () => {
    const path = `${scratch.path}/failing`
    mkdirSync(path)
    writeFileSync(`${path}/there`, 'there before')
    const fd = directory(path)
    const before = openFiles()
    {
      using ring = FileRing.open(1)!
      const large = ring.pieces(openSync(`${path}/large`, 'wx'), name('large'))
      large.put(Buffer.alloc(10), 0)
      ring.create(fd, name('there'), Buffer.from('other'), 0o444)
      expect(() => ring.settle()).toThrow(
        expect.objectContaining({ code: 'EEXIST', syscall: 'openat', path: 'there' }),
      )
      // For good: whoever did not see it must not go on.
      expect(() => ring.create(fd, name('new'), Buffer.from('x'), 0o444)).toThrow(
        expect.objectContaining({ code: 'EEXIST' }),
      )
    }
    expect(readFileSync(`${path}/there`, 'utf8')).toBe('there before')
    expect(openFiles()).toEqual(before)
  })

  it.skipIf(!isRoot)('says that a disk is full (needs root)', () => {
    const disk = `${scratch.path}/disk`
    mkdirSync(disk)
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=256k', 'groot-test', disk])
    undo.push(() => execFileSync('umount', [disk]))
    const fd = directory(disk)
    using ring = FileRing.open(2)!
    const fill = () => {
      for (let i = 0; i < 100; i++) ring.create(fd, name(`file-${i}`), Buffer.alloc(9000, i), 0o444)
      ring.settle()
    }
    expect(fill).toThrow(expect.objectContaining({ code: 'ENOSPC' }))
  })

  it.skipIf(!canBtrfs)('tells a quota from a full disk, where a part could be written (needs btrfs)', () => {
    const disk = `${scratch.path}/btrfs`
    mkdirSync(disk)
    execFileSync('truncate', ['-s', '300M', `${scratch.path}/btrfs.img`])
    execFileSync('mkfs.btrfs', ['-q', `${scratch.path}/btrfs.img`])
    execFileSync('mount', ['-o', 'loop', `${scratch.path}/btrfs.img`, disk])
    undo.push(() => execFileSync('umount', [disk]))
    execFileSync('btrfs', ['quota', 'enable', disk])
    execFileSync('btrfs', ['subvolume', 'create', `${disk}/limited`])
    execFileSync('btrfs', ['qgroup', 'limit', '8M', `${disk}/limited`])
    const fd = openSync(`${disk}/limited`, 'r')
    undo.push(() => closeSync(fd))
    const before = openFiles()
    const large = openSync(`${disk}/limited/large`, 'wx', 0o444)
    {
      using ring = FileRing.open(2)!
      const fill = () => {
        for (let i = 0; i < 40; i++) ring.create(fd, name(`file-${i}`), randomBytes(700_000), 0o444)
        ring.settle()
      }
      expect(fill).toThrow(expect.objectContaining({ code: 'EDQUOT' }))
    }
    {
      using ring = FileRing.open(2)!
      const file = ring.pieces(large, name('large'))
      const fill = () => {
        for (let at = 0; at < 40; at++) file.put(randomBytes(MiB), at * MiB)
        ring.settle()
      }
      expect(fill).toThrow(expect.objectContaining({ code: 'EDQUOT', syscall: 'write', path: 'large' }))
    }
    expect(openFiles()).toEqual(before)
  })

  it('lets go of what was not settled', () => {
    const path = `${scratch.path}/unsettled`
    mkdirSync(path)
    const fd = directory(path)
    const before = openFiles()
    const ring = FileRing.open(1)!
    for (let i = 0; i < 20; i++) ring.create(fd, name(`${i}`), Buffer.alloc(100_000, i), 0o444)
    ring.pieces(openSync(`${path}/large`, 'wx'), name('large')).put(Buffer.alloc(MiB), 0)
    ring[Symbol.dispose]()
    ring[Symbol.dispose]()
    expect(openFiles()).toEqual(before)
    expect(readdirSync(path)).toHaveLength(21)
  })
})
