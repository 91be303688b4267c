/**
 * How fast composefs images are written and read, and how much memory that takes. Run as
 * `node dist/bench/composefs-format.js [ROUNDS]`; needs neither root nor other programs. Prints a table.
 *
 * Each step runs in a process of its own, on one thread, which reads its input from a file and does the step ROUNDS times
 * (default: 9). Entries are those of the tree; the nodes that hide object directories are not counted, though they are written.
 * Times are processor time, user and system, of all threads of the process, compilers and collectors of garbage too, so that
 * entries/s are those of one core. `first` is the time of the first round, with code that no compiler has looked at; entries/s are
 * of the median of the others, and `best` of the fastest, which is nearer to the truth where others use the machine. Memory is
 * what the whole process has had at most when the first round has ended, runtime and input included.
 */
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { closeSync, mkdtempSync, openSync, readFileSync, readSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gunzipSync } from 'node:zlib'
import { type ByteString, byteString } from '../lib/bytes.js'
import { DumpParser, parseDump } from '../lib/composefs/dump-parse.js'
import { writeDump } from '../lib/composefs/dump-write.js'
import { readComposefs } from '../lib/composefs/erofs-read.js'
import { planComposefs, writeComposefs } from '../lib/composefs/erofs-write.js'
import type { ComposefsNode } from '../lib/composefs/node.js'
import { composefsFromTree, treeFromComposefs } from '../lib/composefs/tree.js'
import { imageFsVerity } from '../lib/composefs/verity.js'
import type { VerityDigest } from '../lib/digest.js'
import { type Directory, type Inode, type Metadata, NO_XATTRS, type Tree } from '../lib/tree/model.js'
import { median } from './measure.js'

const DEBIAN = new URL('../../test/golden/composefs/debian-minbase.dump.gz', import.meta.url)
const MiB = 1024 ** 2

/** Trees by name, as nodes. */
const SOURCES: Readonly<Record<string, () => ComposefsNode>> = {
  'debian-minbase': () => parseDump(gunzipSync(readFileSync(DEBIAN))),
  'synthetic, 15,000': () => composefsFromTree(syntheticTree(15_000)),
  'synthetic, 200,000': () => composefsFromTree(syntheticTree(200_000)),
}

/** The files of a tree from which the steps read. */
interface Input {
  readonly dump: string
  readonly image: string
}

/** Reads the input of a step, and gives what is measured. */
type Step = (input: Input) => () => unknown

const STEPS: Readonly<Record<string, Step>> = {
  encode: ({ dump }) => {
    const root = readDump(dump)
    return () => drain(planComposefs(root).lentChunks())
  },
  'encode and fs-verity': ({ dump }) => {
    const root = readDump(dump)
    return () => imageFsVerity(planComposefs(root).lentChunks())
  },
  decode: ({ image }) => {
    const bytes = readFileSync(image)
    return () => readComposefs(bytes)
  },
  'tree to digest': ({ dump }) => {
    const tree = treeFromComposefs(readDump(dump))
    return () => imageFsVerity(planComposefs(composefsFromTree(tree)).lentChunks())
  },
  'tree to nodes': ({ dump }) => {
    const tree = treeFromComposefs(readDump(dump))
    return () => composefsFromTree(tree)
  },
  'dump parse':
    ({ dump }) =>
    () =>
      readDump(dump),
  'dump write': ({ image }) => {
    const { root } = readComposefs(readFileSync(image))
    return () => drain(writeDump(root))
  },
}

interface Measured {
  readonly seconds: readonly number[]
  readonly peakBytes: number
}

const [first, ...rest] = process.argv.slice(2)
if (first === '--step') runStep(rest[0]!, { dump: rest[1]!, image: rest[2]! }, Number(rest[3]))
else printTable(Number(first ?? 9))

function printTable(rounds: number): void {
  const directory = mkdtempSync(join(tmpdir(), 'groot-bench-'))
  try {
    console.log('| tree | step | entries | first s | entries/s | best | peak MB |')
    console.log('| --- | --- | ---: | ---: | ---: | ---: | ---: |')
    for (const [name, source] of Object.entries(SOURCES)) {
      const input = { dump: join(directory, 'dump'), image: join(directory, 'image') }
      const entries = prepare(source(), input)
      for (const step of Object.keys(STEPS)) printRow(name, step, entries, measureStep(step, input, rounds))
    }
  } finally {
    rmSync(directory, { recursive: true })
  }
}

/** Writes the input files, and gives the number of entries. */
function prepare(root: ComposefsNode, { dump, image }: Input): number {
  const text = Buffer.from([...writeDump(root)].join(''), 'latin1')
  writeFileSync(dump, text)
  writeFileSync(image, Buffer.concat([...writeComposefs(root)]))
  return text.reduce((lines, byte) => (byte === 0x0a ? lines + 1 : lines), 0)
}

function measureStep(step: string, { dump, image }: Input, rounds: number): Measured {
  const argv = [fileURLToPath(import.meta.url), '--step', step, dump, image, String(rounds)]
  return JSON.parse(execFileSync(process.execPath, argv, { encoding: 'utf8' })) as Measured
}

function printRow(tree: string, step: string, entries: number, { seconds, peakBytes }: Measured): void {
  const [cold, ...warm] = seconds as [number, ...number[]]
  const rate = (time: number) => Math.round(entries / time).toLocaleString('en')
  const rates = `${rate(median(warm))} | ${rate(Math.min(...warm))}`
  console.log(
    `| ${tree} | ${step} | ${entries} | ${cold.toFixed(3)} | ${rates} | ${Math.round(peakBytes / MiB)} |`,
  )
}

function runStep(step: string, input: Input, rounds: number): void {
  const run = STEPS[step]!(input)
  const seconds: number[] = []
  let peakBytes = 0
  for (let round = 0; round < rounds; round++) {
    const begun = process.cpuUsage()
    if (run() === undefined) throw new Error(`${step} gave nothing`)
    const { user, system } = process.cpuUsage(begun)
    seconds.push((user + system) / 1e6)
    if (round === 0) peakBytes = process.resourceUsage().maxRSS * 1024
  }
  process.stdout.write(JSON.stringify({ seconds, peakBytes }))
}

function readDump(path: string): ComposefsNode {
  const parser = new DumpParser()
  const piece = Buffer.alloc(64 * 1024)
  const file = openSync(path, 'r')
  for (let length = readSync(file, piece); length > 0; length = readSync(file, piece)) {
    parser.push(piece.subarray(0, length))
  }
  closeSync(file)
  return parser.end()
}

function drain(pieces: Iterable<Uint8Array | string>): number {
  let length = 0
  for (const piece of pieces) length += piece.length
  return length
}

/** Directories of 20 entries, most of them files of objects, some links, symlinks, small files and xattrs. */
function syntheticTree(entries: number): Tree {
  const root = directory(0)
  const open = [root]
  let last: Inode = file(0)
  for (let i = 1; i < entries; i++) {
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
