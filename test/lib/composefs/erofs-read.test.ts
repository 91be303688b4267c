/** What the reader makes of bytes that no writer wrote. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { byteString } from '../../../lib/bytes.js'
import { readComposefs } from '../../../lib/composefs/erofs-read.js'
import { writeComposefs } from '../../../lib/composefs/erofs-write.js'
import type { ComposefsNode } from '../../../lib/composefs/node.js'
import { isGrootError } from '../../../lib/errors.js'
import { backed, directory, inline, node, randomTree, symlink } from './random-nodes.js'

const INODES_START = 1152
const SUPERBLOCK = 1024

function imageOf(root: ComposefsNode, options = {}): Buffer {
  return Buffer.concat([...writeComposefs(root, options)])
}

/** Reads, and expects a refusal or the image of another tree. */
function readHostile(bytes: Buffer): void {
  try {
    const { root, header } = readComposefs(bytes)
    const again = { minVersion: header.version, maxVersion: header.version }
    expect(imageOf(root, again).equals(bytes)).toBe(true)
  } catch (error) {
    expect(isGrootError(error) && error.code).toBe('composefs-invalid')
  }
}

function sample(): Buffer {
  const digits = (i: number) => i.toString(16).padStart(64, 'a')
  const files = Object.fromEntries(
    Array.from({ length: 300 }, (_, i) => [`file-${i}`, backed(i + 1, digits(i))]),
  )
  const shared = { xattrs: new Map([[byteString('security.selinux'), byteString('label')]]) }
  return imageOf(
    directory({
      many: directory(files),
      text: inline(5000),
      link: symlink('t'.repeat(4095)),
      a: node(shared),
      b: node(shared),
      later: node({ mtimeSeconds: 5n }),
    }),
  )
}

describe('hostile images', () => {
  it('that are random trees with some bytes changed are refused, or are the image of another tree', () => {
    const change = fc.record({
      at: fc.nat(),
      how: fc.constantFrom('byte', 'zeros', 'ones', 'copy', 'add'),
      value: fc.integer({ min: 0, max: 255 }),
      length: fc.integer({ min: 1, max: 64 }),
    })
    fc.assert(
      fc.property(randomTree(64, 12), fc.array(change, { minLength: 1, maxLength: 3 }), (tree, changes) => {
        let bytes: Buffer
        try {
          bytes = imageOf(tree)
        } catch {
          return // no image can hold it
        }
        for (const { at, how, value, length } of changes) damage(bytes, at, how, value, length)
        readHostile(bytes)
      }),
      { numRuns: 1500 },
    )
  })

  it('with a byte changed in the part that holds inodes are refused or other images', () => {
    const image = sample()
    const places = fc.tuple(fc.integer({ min: 0, max: image.length - 1 }), fc.integer({ min: 0, max: 255 }))
    fc.assert(
      fc.property(places, ([at, byte]) => {
        const bytes = Buffer.from(image)
        bytes[at] = byte
        readHostile(bytes)
      }),
      { numRuns: 400 },
    )
  })

  it('that are cut anywhere, or go on behind their end, are refused', () => {
    const image = sample()
    for (let length = 0; length < image.length; length += 1021) {
      expect(() => readComposefs(image.subarray(0, length))).toThrow(
        expect.objectContaining({ code: 'composefs-invalid' }),
      )
    }
    for (const more of [1, 4096, 8192]) {
      expect(() => readComposefs(Buffer.concat([image, Buffer.alloc(more)]))).toThrow(
        expect.objectContaining({ code: 'composefs-invalid' }),
      )
    }
  })

  it.each<[string, (image: Buffer) => void]>([
    ['more inodes than any machine can hold', (image) => image.writeBigUInt64LE(2n ** 63n, SUPERBLOCK + 16)],
    [
      'as many inodes as an exact number can be',
      (image) => image.writeBigUInt64LE(2n ** 53n - 1n, SUPERBLOCK + 16),
    ],
    ['no inodes', (image) => image.writeBigUInt64LE(0n, SUPERBLOCK + 16)],
    ['one inode less', (image) => image[SUPERBLOCK + 16]!--],
    ['all blocks there can be', (image) => image.writeUInt32LE(0xffff_ffff, SUPERBLOCK + 36)],
    ['shared xattrs behind its end', (image) => image.writeUInt32LE(0xffff_ffff, SUPERBLOCK + 44)],
    ['shared xattrs before the inodes', (image) => image.writeUInt32LE(0, SUPERBLOCK + 44)],
    ['a later time than that of an inode', (image) => image.writeBigInt64LE(9n, SUPERBLOCK + 24)],
    ['version 2', (image) => image.writeUInt32LE(2, 12)],
    ['a checksum', (image) => image.writeUInt32LE(1, SUPERBLOCK + 4)],
    ['the flag of ACLs without any', (image) => image.writeUInt32LE(1, 8)],
    ['65,535 xattrs of the root', (image) => image.writeUInt16LE(0xffff, INODES_START + 2)],
    [
      '255 shared xattrs of the root',
      (image) => image.writeUInt8(0xff, INODES_START + rootInodeBytes(image) + 4),
    ],
    ['a root of 2^44 bytes', growRoot],
  ])('whose header or root tell of %s are refused', (_, change) => {
    const image = sample()
    change(image)
    expect(() => readComposefs(image)).toThrow(expect.objectContaining({ code: 'composefs-invalid' }))
  })

  it('whose inodes share one long xattr by different places do not take more memory than their own', () => {
    const image = overlappingXattrs()
    const before = process.memoryUsage().rss
    expect(() => readComposefs(image)).toThrow(expect.objectContaining({ code: 'composefs-invalid' }))
    expect(process.memoryUsage().rss - before).toBeLessThan(32 * image.length + 64 * 2 ** 20)
  })

  it('with a name of an xattr that steers a terminal are refused by a message that does not', () => {
    const image = imageOf(
      directory({ a: node({ xattrs: new Map([[byteString('trusted.overlaz.\x1b\n'), byteString('')]]) }) }),
    )
    image.write('overlay.', image.indexOf('overlaz.'), 'latin1')
    const cause = 'an xattr speaks to overlayfs: trusted.overlay.\\x1b\\x0a'
    expect(() => readComposefs(image)).toThrow(
      expect.objectContaining({ code: 'composefs-invalid', facts: expect.objectContaining({ cause }) }),
    )
  })

  it('that are made to be slow take no longer than others of their length', () => {
    // Digests that begin alike, so that whatever sorts them by their beginning has them all in one place.
    const digits = (i: number) => i.toString(16).padStart(64, 'a')
    const files = Object.fromEntries(
      Array.from({ length: 20_000 }, (_, i) => [`f${i}`, backed(1, digits(i))]),
    )
    const begun = process.cpuUsage()
    readHostile(imageOf(directory(files)))
    const { user, system } = process.cpuUsage(begun)
    expect((user + system) / 1e6).toBeLessThan(20)
  })
})

function rootInodeBytes(image: Buffer): number {
  return (image.readUInt16LE(INODES_START) & 1) === 1 ? 64 : 32
}

function growRoot(image: Buffer): void {
  if (rootInodeBytes(image) === 64) image.writeBigUInt64LE(2n ** 44n, INODES_START + 8)
  else image.writeUInt32LE(0xffff_ffff, INODES_START + 8)
}

/** An image where the references of one inode lead to as many places within one value of 32 KiB. */
function overlappingXattrs(): Buffer {
  const value = byteString('\x01\x01'.repeat(16_000))
  const long = new Map([[byteString('user.x'), value]])
  const small = new Map(Array.from({ length: 120 }, (_, i) => [byteString(`user.${i}`), byteString('v')]))
  const inodes = Object.fromEntries(
    Array.from({ length: 40 }, (_, i) => [`f${i}`, node({ xattrs: i < 2 ? long : small })]),
  )
  const image = imageOf(directory(inodes))
  const base = image.readUInt32LE(SUPERBLOCK + 44) * 4096
  const at = image.indexOf(Buffer.from(value, 'latin1'), base)
  // Whatever looks like a reference to the table leads somewhere into the value.
  let next = 0
  for (let place = INODES_START; place < base; place += 4) {
    const reference = image.readUInt32LE(place) * 4 + base
    if (reference <= base || reference >= image.length || reference === at) continue
    image.writeUInt32LE((at - base + 4 * (next++ % 7000)) >>> 2, place)
  }
  return image
}

function damage(bytes: Buffer, from: number, how: string, value: number, length: number): void {
  const at = from % bytes.length
  const end = Math.min(at + length, bytes.length)
  switch (how) {
    case 'byte':
      bytes[at] = value
      return
    case 'zeros':
      bytes.fill(0, at, end)
      return
    case 'ones':
      bytes.fill(0xff, at, end)
      return
    case 'copy':
      bytes.copy(
        bytes,
        at,
        (from * 31) % (bytes.length - length),
        ((from * 31) % (bytes.length - length)) + end - at,
      )
      return
    default:
      bytes[at] = (bytes[at]! + 1) & 0xff
  }
}
