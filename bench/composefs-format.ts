/**
 * How fast composefs images are written and read, and how much memory that takes. Run as
 * `node dist/bench/composefs-format.js [ROUNDS]`; needs neither root nor other programs. Prints a table of medians.
 *
 * Each step runs in a process of its own, on one thread: once for its memory, then ROUNDS times (default: 5) for its time.
 * Entries are those of the tree; the nodes that hide object directories are not counted, though they are written. Memory is
 * what the process had at most while the step ran for the first time, and that less what it had before, with its input.
 */
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { gunzipSync } from 'node:zlib'
import { type ByteString, byteString } from '../lib/bytes.js'
import { parseDump } from '../lib/composefs/dump-parse.js'
import { writeDump } from '../lib/composefs/dump-write.js'
import { readComposefs } from '../lib/composefs/erofs-read.js'
import { writeComposefs } from '../lib/composefs/erofs-write.js'
import type { ComposefsNode } from '../lib/composefs/node.js'
import { composefsFromTree, treeFromComposefs } from '../lib/composefs/tree.js'
import { imageFsVerity } from '../lib/composefs/verity.js'
import type { VerityDigest } from '../lib/digest.js'
import { type Directory, type Inode, type Metadata, NO_XATTRS, type Tree } from '../lib/tree/model.js'
import { median } from './measure.js'

const DEBIAN = new URL('../../test/golden/composefs/debian-minbase.dump.gz', import.meta.url)
const SYNTHETIC_ENTRIES = 200_000
const MiB = 1024 ** 2

type Source = () => ComposefsNode
/** Makes the input of a step, and gives what is measured. */
type Step = (source: Source) => () => unknown

const SOURCES: Readonly<Record<string, Source>> = {
  'debian-minbase': () => parseDump(gunzipSync(readFileSync(DEBIAN))),
  'synthetic, 200,000': () => composefsFromTree(syntheticTree()),
}
const STEPS: Readonly<Record<string, Step>> = {
  encode: (source) => {
    const root = source()
    return () => drain(writeComposefs(root))
  },
  'encode and fs-verity': (source) => {
    const root = source()
    return () => imageFsVerity(writeComposefs(root))
  },
  decode: (source) => {
    const image = Buffer.concat([...writeComposefs(source())])
    return () => readComposefs(image)
  },
  'dump parse': (source) => {
    const dump = Buffer.from([...writeDump(source())].join(''))
    return () => parseDump(dump)
  },
  'dump write': (source) => {
    const root = source()
    return () => drain(writeDump(root))
  },
  'tree to nodes': (source) => {
    const tree = treeFromComposefs(source())
    return () => composefsFromTree(tree)
  },
}

interface Measured {
  readonly entries: number
  readonly seconds: readonly number[]
  readonly peakBytes: number
  readonly stepBytes: number
}

const [first, ...rest] = process.argv.slice(2)
if (first === '--step') runStep(rest[0]!, rest[1]!, Number(rest[2]))
else printTable(Number(first ?? 5))

function printTable(rounds: number): void {
  console.log('| tree | step | entries | seconds | entries/s | peak MB | of it the step |')
  console.log('| --- | --- | ---: | ---: | ---: | ---: | ---: |')
  const self = fileURLToPath(import.meta.url)
  for (const source of Object.keys(SOURCES)) {
    for (const step of Object.keys(STEPS)) {
      const argv = ['--expose-gc', self, '--step', step, source, String(rounds)]
      const output = execFileSync(process.execPath, argv, { encoding: 'utf8' })
      const { entries, seconds, peakBytes, stepBytes } = JSON.parse(output) as Measured
      const time = median(seconds)
      const rate = Math.round(entries / time).toLocaleString('en')
      const memory = `${Math.round(peakBytes / MiB)} | ${Math.round(stepBytes / MiB)}`
      console.log(`| ${source} | ${step} | ${entries} | ${time.toFixed(3)} | ${rate} | ${memory} |`)
    }
  }
}

function runStep(step: string, source: string, rounds: number): void {
  let entries = 0
  const run = STEPS[step]!(() => {
    const root = SOURCES[source]!()
    for (const piece of writeDump(root)) entries += piece.split('\n').length - 1
    return root
  })
  globalThis.gc?.()
  writeFileSync('/proc/self/clear_refs', '5') // forgets the peak so far (proc_pid_clear_refs(5))
  const before = memory('VmRSS')
  let result = run()
  const peakBytes = memory('VmHWM')
  const seconds: number[] = []
  for (let round = 0; round < rounds; round++) {
    const begun = performance.now()
    result = run()
    seconds.push((performance.now() - begun) / 1000)
  }
  if (result === undefined) throw new Error(`${step} gave nothing`)
  process.stdout.write(JSON.stringify({ entries, seconds, peakBytes, stepBytes: peakBytes - before }))
}

function memory(field: string): number {
  const status = readFileSync('/proc/self/status', 'utf8')
  return Number(new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(status)![1]) * 1024
}

function drain(pieces: Iterable<Uint8Array | string>): number {
  let length = 0
  for (const piece of pieces) length += piece.length
  return length
}

/** Directories of 20 entries, most of them files of objects, some links, symlinks, small files and xattrs. */
function syntheticTree(): Tree {
  const root = directory(0)
  const open = [root]
  let last: Inode = file(0)
  for (let i = 1; i < SYNTHETIC_ENTRIES; i++) {
    const into = open[Math.floor(i / 20)]!
    const name = byteString(`entry-${((i * 7919) % 1000).toString(36)}-${i}`)
    let inode: Inode
    if (i % 20 < 2) {
      inode = directory(i)
      open.push(inode)
    } else if (i % 20 === 2)
      inode = { ...metadata(i), kind: 'symlink', target: byteString(`../entry-${i - 1}`) }
    else if (i % 20 === 3) inode = inlineFile(i)
    else if (i % 20 === 4) inode = last
    else inode = file(i)
    if (inode.kind === 'file') last = inode
    into.children.set(name, inode)
  }
  return { root }
}

function directory(i: number): Directory {
  return { ...metadata(i), mode: 0o755, kind: 'directory', children: new Map() }
}

/** One in ten has the object of another. */
function file(i: number): Inode {
  const digest = createHash('sha256')
    .update(String(i % 10 === 9 ? i - 9 : i))
    .digest('hex') as VerityDigest
  return { ...metadata(i), kind: 'file', size: 1000 + i, content: { kind: 'object', digest } }
}

function inlineFile(i: number): Inode {
  const bytes = Buffer.from(`content ${i}`)
  return { ...metadata(i), kind: 'file', size: bytes.length, content: { kind: 'inline', bytes } }
}

function metadata(i: number): Metadata {
  const capability = '\u0001\0\0\u0002\0\u0004\0\0\0\0\0\0\0\0\0\0\0\0\0\0' as ByteString
  return {
    mode: 0o644,
    uid: i % 7 === 0 ? 1000 : 0,
    gid: 0,
    mtimeSeconds: 1_700_000_000n + BigInt(i % 5000),
    mtimeNanoseconds: i % 3 === 0 ? 123_456_789 : 0,
    xattrs: i % 50 === 0 ? new Map([[byteString('security.capability'), capability]]) : NO_XATTRS,
  }
}
