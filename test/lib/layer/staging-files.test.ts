import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { VerityHasher, verityDigest } from '../../../lib/composefs/verity.js'
import type { VerityDigest } from '../../../lib/digest.js'
import { StagedObjects } from '../../../lib/layer/staged-objects.js'
import { StagingFiles } from '../../../lib/layer/staging-files.js'
import { objectName } from '../../../lib/store/objects.js'

let directory: string
let count = 0
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'groot-staging-'))
  mkdirSync(`${directory}/objects`)
})
afterEach(() => {
  vi.restoreAllMocks()
  rmSync(directory, { recursive: true })
})

function newStaging(): string {
  const path = `${directory}/staging-${++count}`
  mkdirSync(path)
  return path
}

function staging(writers: number): StagingFiles {
  return new StagingFiles(`${directory}/objects`, newStaging(), writers)
}

const objectPath = (digest: VerityDigest) => `${directory}/objects/${objectName(digest)}`
const names = () =>
  readdirSync(`${directory}/objects`)
    .flatMap((prefix) => readdirSync(`${directory}/objects/${prefix}`).map((rest) => `${prefix}${rest}`))
    .sort()

/** So many contents that each of the 256 directories gets some. */
function contents(from: number, to: number): Map<VerityDigest, Buffer> {
  const found = new Map<VerityDigest, Buffer>()
  for (let i = from; i < to; i++) {
    const bytes = Buffer.from(`content ${i} `.repeat(1 + (i % 50)))
    found.set(verityDigest(bytes), bytes)
  }
  return found
}

function publish(files: StagingFiles, all: ReadonlyMap<VerityDigest, Buffer>): void {
  for (const [digest, bytes] of all) files.add(digest, bytes)
  files.settle()
  files.publish()
}

describe.each([
  [0, 'the calling thread writes'],
  [1, 'a thread of the kernel writes'],
  [4, 'threads of the kernel write'],
])('files of new objects, %i writers: %s', (writers) => {
  it('are published whole, beside those that are there already', () => {
    const [first, second] = [contents(0, 500), contents(300, 800)]
    {
      using files = staging(writers)
      publish(files, first)
    }
    expect(names()).toEqual([...first.keys()].sort())
    {
      using files = staging(writers)
      publish(files, second)
    }
    expect(names()).toEqual([...new Set([...first.keys(), ...second.keys()])].sort())
    for (const [digest, bytes] of [...first, ...second])
      expect(readFileSync(objectPath(digest)).equals(bytes)).toBe(true)
    const [digest] = first.keys()
    expect(statSync(objectPath(digest!)).mode & 0o777).toBe(0o444)
    expect(statSync(`${directory}/objects/${digest!.slice(0, 2)}`).mode & 0o777).toBe(0o711)
  })

  it('are not published in part where a directory came up meanwhile, nor is what it has lost', () => {
    const all = contents(0, 300)
    const [digest] = all.keys()
    using files = staging(writers)
    for (const [each, bytes] of all) files.add(each, bytes)
    files.settle()
    // Another ingest was faster with this one, and has something of its own.
    const prefix = `${directory}/objects/${digest!.slice(0, 2)}`
    mkdirSync(prefix)
    writeFileSync(objectPath(digest!), all.get(digest!)!)
    writeFileSync(`${prefix}/${'0'.repeat(62)}`, 'of its own')
    // And with an empty directory.
    const other = [...all.keys()].find((each) => !each.startsWith(digest!.slice(0, 2)))!
    mkdirSync(`${directory}/objects/${other.slice(0, 2)}`)
    files.publish()
    expect(names()).toEqual([...all.keys(), `${digest!.slice(0, 2)}${'0'.repeat(62)}`].sort())
  })

  it('are closed when they cannot be made as long as they should be', () => {
    const open = () => readdirSync('/proc/self/fd').length
    const before = open()
    {
      using objects = new StagedObjects(`${directory}/objects`, newStaging(), true, writers)
      // No filesystem has files of that length, which is told when the file ends.
      objects.begin(2 ** 53 - 4096, [{ offset: 0, length: 10 }])
      objects.write(Buffer.from('0123456789'))
      vi.spyOn(VerityHasher.prototype, 'updateZeros').mockImplementation(() => {})
      expect(() => objects.finish()).toThrow(/EFBIG|EINVAL/)
    }
    expect(open()).toBe(before)
  })

  it('are kept or dropped at their end when they are large', () => {
    const large = Buffer.alloc(3_000_000, 'large ')
    const digest = verityDigest(large)
    using files = staging(writers)
    for (const isKept of [false, true, false]) {
      const file = files.begin()
      for (let at = 0; at < large.length - 1_000_000; at += 500_000)
        file.put(large.subarray(at, at + 500_000), at)
      file.put(large.subarray(2_000_000), 2_000_000)
      file.close()
      if (isKept) file.keep(digest)
      else file.drop()
    }
    const sparse = files.begin()
    sparse.put(Buffer.from('begins'), 0)
    sparse.setLength(5_000_000)
    sparse.close()
    const holes = verityDigest(Buffer.concat([Buffer.from('begins'), Buffer.alloc(4_999_994)]))
    sparse.keep(holes)
    files.settle()
    files.publish()
    expect(names()).toEqual([digest, holes].sort())
    expect(readFileSync(objectPath(digest)).equals(large)).toBe(true)
    expect(statSync(objectPath(holes)).size).toBe(5_000_000)
  })

  it('leave nothing in objects when they are not published', () => {
    {
      using files = staging(writers)
      for (const [digest, bytes] of contents(0, 100)) files.add(digest, bytes)
      files.begin().put(Buffer.alloc(1000), 0)
    }
    expect(names()).toEqual([])
    expect(existsSync(`${directory}/staging-${count}`)).toBe(true)
  })
})
