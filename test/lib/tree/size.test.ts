import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { byteString } from '../../../lib/bytes.js'
import { verityDigest } from '../../../lib/composefs/verity.js'
import { diskUsage } from '../../../lib/linux/disk-usage.js'
import { objectReader } from '../../../lib/store/objects.js'
import { smallTree } from '../../../lib/testkit/sample-tree.js'
import { materialise } from '../../../lib/tree/materialise.js'
import { IMPLICIT_DIRECTORY, type Inode } from '../../../lib/tree/model.js'
import { treeBytes, treeEntries, treeRoomBytes } from '../../../lib/tree/size.js'

const scratch = mkdtempSync(join(tmpdir(), 'groot-size-'))
afterAll(() => rmSync(scratch, { recursive: true }))
const objects = objectReader(`${scratch}/objects`)
const tree = smallTree((bytes) => {
  const digest = verityDigest(bytes)
  mkdirSync(dirname(objects.path(digest)), { recursive: true })
  writeFileSync(objects.path(digest), bytes)
  return digest
})

describe('the size of a tree', () => {
  it('is that of its files, those with several names once', () => {
    expect(treeBytes(tree)).toBe(300_000 + 'tiny'.length)
  })

  it('has an entry for each name, and one for its top', () => {
    const file: Inode = { ...IMPLICIT_DIRECTORY, kind: 'file', size: 0, content: { kind: 'empty' } }
    const directory = (...children: [string, Inode][]) => ({
      ...IMPLICIT_DIRECTORY,
      kind: 'directory' as const,
      children: new Map(children.map(([name, inode]) => [byteString(name), inode])),
    })
    const root = directory(['a', file], ['b', directory(['again', file], ['empty', directory()])])
    expect(treeEntries({ root })).toBe(5)
  })

  it('is no less on disk than what it takes there', async () => {
    await materialise(tree, objects, `${scratch}/written`, {
      ignoreOwnership: process.geteuid?.() !== 0,
      signal: new AbortController().signal,
    })
    expect(treeRoomBytes(tree)).toBeGreaterThanOrEqual(diskUsage(`${scratch}/written`).bytes)
  })
})
