/**
 * Images in the eyes of another reader of EROFS, the one of erofs-utils. It knows nothing of composefs, and so sees what the
 * kernel would: files that stand for whiteouts, and whiteouts over the directories of objects.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import {
  lstatSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { byteString } from '../../../lib/bytes.js'
import { writeComposefs } from '../../../lib/composefs/erofs-write.js'
import { type ComposefsEntry, type ComposefsNode, rdevOf } from '../../../lib/composefs/node.js'
import { backed, directory, inline, node, symlink, whiteout } from './random-nodes.js'

const DIGITS = 'ab'.padStart(64, '0')
const TIME = { mtimeSeconds: 1_700_000_000n, mtimeNanoseconds: 123_456_789 }
const hasTools = [spawnSync('fsck.erofs', ['-V']), spawnSync('dump.erofs', ['-V'])].every(
  ({ error }) => !error,
)
const isRoot = process.geteuid?.() === 0

const linked = backed(70_000, DIGITS, { ...TIME, nlink: 2 })
const ENTRIES: Readonly<Record<string, ComposefsEntry>> = {
  backed: linked,
  again: { kind: 'link', target: linked },
  large: backed(5_000_000_000, DIGITS.replace('ab', 'cd'), { mode: 0o4755, uid: 100_000, gid: 100_001 }),
  empty: node({ ...TIME, mode: 0o600 }),
  short: inline(40),
  half: inline(2048),
  overhalf: inline(2049),
  block: inline(4096),
  longest: inline(5000),
  link: symlink('some/where'),
  longlink: symlink('t'.repeat(4000)),
  longestlink: symlink('t'.repeat(4095)),
  console: node({ kind: 'char', mode: 0o600, rdev: rdevOf(5, 1) }),
  disk: node({ kind: 'block', mode: 0o660, rdev: rdevOf(8, 300), gid: 6 }),
  pipe: node({ kind: 'fifo', mode: 0o644 }),
  sock: node({ kind: 'socket', mode: 0o755, ...TIME }),
  gone: whiteout(),
  labelled: node({ xattrs: new Map([[byteString('user.x'), byteString('y'.repeat(3000))]]) }),
  many: directory(Object.fromEntries(Array.from({ length: 500 }, (_, i) => [`name-${i}`, node()])), TIME),
  '!before-the-dots': directory({ '-': inline(1) }),
}
const TYPES: Readonly<Record<ComposefsNode['kind'], number>> = {
  file: 1,
  directory: 2,
  char: 3,
  block: 4,
  fifo: 5,
  socket: 6,
  symlink: 7,
}

const ROOT_INODE = 1152

let scratch: string
let image: string

beforeAll(() => {
  scratch = mkdtempSync(join(tmpdir(), 'groot-erofs-'))
  image = join(scratch, 'image')
  writeFileSync(image, Buffer.concat([...writeComposefs(directory(ENTRIES))]))
})
afterAll(() => rmSync(scratch, { recursive: true }))

function dump(...options: string[]): string {
  return execFileSync('dump.erofs', [...options, image], {
    encoding: 'utf8',
    env: { ...process.env, TZ: 'UTC' },
  })
}

/** The node that stands in the image for an entry. */
function inImage(entry: ComposefsEntry): ComposefsNode {
  const found = entry.kind === 'link' ? entry.target : entry
  return entry === ENTRIES.gone ? { ...found, kind: 'file', size: 0 } : found
}

describe.skipIf(!hasTools)('an image, read by erofs-utils (needs fsck.erofs and dump.erofs)', () => {
  it('has no errors, and has some when an inode is overwritten', () => {
    expect(spawnSync('fsck.erofs', [image]).status).toBe(0)
    const damaged = join(scratch, 'damaged')
    writeFileSync(damaged, readFileSync(image).fill(0xff, ROOT_INODE, ROOT_INODE + 32))
    expect(spawnSync('fsck.erofs', [damaged]).status).not.toBe(0)
  })

  it('has the superblock of composefs', () => {
    const lines = dump('-s').split('\n')
    const field = (name: string) => lines.find((line) => line.startsWith(name))?.split(/:\s+/)[1]
    const inodes = 256 + 1 + Object.keys(ENTRIES).length - 1 + 500 + 1
    expect([
      field('Filesystem magic'),
      field('Filesystem root nid'),
      field('Filesystem inode count'),
    ]).toEqual(['0xE0F5E1E2', '36', String(inodes)])
  })

  it('lists all names with their types, and whiteouts over object directories', () => {
    const listed = [...dump('--path=/', '--ls').matchAll(/^ +\d+ +(\d) +(.+)$/gm)].map(([, type, name]) => [
      name,
      type,
    ])
    const hidden = Array.from({ length: 256 }, (_, i) => [i.toString(16).padStart(2, '0'), '3'])
    const own = Object.entries(ENTRIES).map(([name, entry]) => [name, String(TYPES[inImage(entry).kind])])
    const expected = [['.', '2'], ['..', '2'], ...hidden, ...own]
    expect(listed).toEqual(expected.sort(([a], [b]) => (a! < b! ? -1 : 1)))
  })

  it.each(Object.entries(ENTRIES))('has the metadata of %s', (name, entry) => {
    const { kind, size, uid, gid, mode, mtimeSeconds, mtimeNanoseconds } = inImage(entry)
    const text = dump(`--path=/${name}`)
    const found = {
      size: Number(/^Size: (\d+)/m.exec(text)![1]),
      uid: Number(/^Uid: (\d+)/m.exec(text)![1]),
      gid: Number(/Gid: (\d+)/.exec(text)![1]),
      mode: Number.parseInt(/Access: (\d+)/.exec(text)![1]!, 8),
      time: /^Timestamp: (.*)$/m.exec(text)![1],
    }
    const date = new Date(Number(mtimeSeconds) * 1000).toISOString().slice(0, 19).replace('T', ' ')
    expect(found).toEqual({
      size: kind === 'directory' ? found.size : Number(size),
      uid,
      gid,
      mode: mode & 0o777, // it prints no more
      time: `${date}.${String(mtimeNanoseconds).padStart(9, '0')}`,
    })
  })

  it('gives both names of a file one inode, with two links', () => {
    const [one, two] = ['backed', 'again'].map(
      (name) => /NID: (\d+) +Links: (\d+)/.exec(dump(`--path=/${name}`))!,
    )
    expect([two![1], two![2]]).toEqual([one![1], '2'])
  })

  it.skipIf(!isRoot)('gives targets, contents and all entries (needs root, to make devices)', () => {
    const to = join(scratch, 'extracted')
    execFileSync('fsck.erofs', [`--extract=${to}`, image], { stdio: 'ignore' })
    for (const [name, entry] of Object.entries(ENTRIES)) {
      const { kind, payload, content } = inImage(entry)
      const path = join(to, name)
      expect(lstatSync(path).isFile()).toBe(kind === 'file')
      if (kind === 'symlink') expect(readlinkSync(path)).toBe(payload)
      if (content !== null) expect(readFileSync(path).equals(Buffer.from(content))).toBe(true)
    }
    expect(readdirSync(join(to, 'many'))).toHaveLength(500)
    expect(readFileSync(join(to, '!before-the-dots', '-'), 'utf8')).toBe('a')
  })
})
