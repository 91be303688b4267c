/**
 * groot beside the tools that others use for the same: cold and warm creates, deletes, removals, disk and memory, all in one
 * run, round by round. README.md says how it is measured and what the rows mean. Run as `node dist/bench/peers.js --help`.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { availableParallelism, cpus, release, tmpdir, totalmem } from 'node:os'
import { dirname, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { makeFilesystem, Undo } from './filesystem.js'
import { imageNames } from './images.js'
import { makeRunPlace, prepareChroot } from './peers-chroot.js'
import { containerdTools } from './peers-containerd.js'
import { measureLibrary, measureReads } from './peers-groot.js'
import { measureLimits, measureShortLimits } from './peers-limits.js'
import { podmanTools } from './peers-podman.js'
import { type PeersDocument, peersTables, Results } from './peers-results.js'
import {
  type Bench,
  measureCopies,
  measureImage,
  measureSecond,
  PARTS,
  type Part,
  peerImage,
  tryOut,
} from './peers-rows.js'
import {
  grootTools,
  type Places,
  type Root,
  type Runtime,
  runtimesOf,
  type Tool,
  umociTools,
} from './peers-tools.js'

const USAGE = `usage: node dist/bench/peers.js --images DIR --registry PORT [options]

  --images DIR     an OCI layout with the images
  --registry PORT  a registry on 127.0.0.1 with the same images, as NAME:latest, and copies:NN for copies-NN
  --chroot DIR     a root filesystem with further versions of the tools
  --image A,B      images of the rows that have one (default: debian,python,node,many,fat)
  --rounds N       how often each row is measured (default: 5)
  --only PARTS     of: ${PARTS.join(', ')} (default: all)
  --nodes A,B      programs of further Nodes that groot is run by, too
  --tools A,B      only tools whose names have one of these in them, as groot,erofs
  --work DIR       where the filesystem of the benchmark goes, 32 GB (default: ${tmpdir()})
  --out FILE       where the samples go (default: bench/results/peers.json)

Needs root, and: time e2fsprogs mount. Measures what there is of: podman; containerd with ctr; skopeo with umoci`

const FILESYSTEM_BYTES = 32 * 1024 ** 3
const USED_ONCE_BYTES = 6 * 1024 ** 3
const RUN_PLACE = '/run/groot-bench'

interface Options {
  readonly layout: string
  readonly registry: string
  readonly chroot: Root
  readonly images: readonly string[]
  readonly rounds: number
  readonly parts: ReadonlySet<Part>
  readonly runtimes: readonly Runtime[]
  readonly tools: readonly string[]
  readonly work: string
  readonly out: string
}

async function main(options: Options, signal: AbortSignal): Promise<void> {
  using filesystem = makeFilesystem(options.work, FILESYSTEM_BYTES, USED_ONCE_BYTES)
  using undo = new Undo()
  const results = new Results()
  const places: Places = {
    place: filesystem.path,
    run: RUN_PLACE,
    registry: options.registry,
    layout: options.layout,
  }
  const { parts, runtimes } = options
  const bench: Bench = { places, results, parts, runtimes, signal }
  const tools = await toolsThatWork(bench, findTools(options, places, undo), options.images[0]!)
  let whole = 0
  try {
    for (let round = 1; round <= options.rounds; round++) {
      say(`round ${round} of ${options.rounds}`)
      await measureRound(bench, rotated(tools, round - 1), options.images)
      whole = round
    }
  } finally {
    // Also when it is interrupted: what was measured may have taken an hour.
    write(options, documentOf(whole, tools, results))
  }
  const document = documentOf(whole, tools, results)
  console.log(peersTables(document))
  for (const { name, version, about } of tools) console.log(`\n* ${name}: ${about} (${version})`)
  for (const { tool, what, reason } of results.leftOut) console.log(`\nLeft out: ${tool}, ${what}: ${reason}`)
  console.log(`\nSamples: ${options.out}`)
  if (results.leftOut.some(({ tool }) => tool.startsWith('groot'))) process.exitCode = 1
}

function findTools(options: Options, places: Places, undo: Undo): Tool[] {
  undo.defer(closing(makeRunPlace(null, places.run)))
  const roots: Root[] = [null]
  if (options.chroot !== null) {
    undo.defer(closing(prepareChroot(options.chroot, places.place)))
    undo.defer(closing(makeRunPlace(options.chroot, places.run)))
    roots.push(options.chroot)
  }
  const peers = roots.flatMap((root) => [
    ...podmanTools(places, root),
    ...containerdTools(places, root),
    ...umociTools(places, root),
  ])
  // Where both have the same version that of the machine is enough.
  const distinct = new Map([...peers].reverse().map((tool) => [tool.name, tool]))
  const all = [
    ...grootTools(places, options.runtimes),
    ...peers.filter((tool) => distinct.get(tool.name) === tool),
  ]
  const unknown = options.tools.filter((part) => !all.some(({ name }) => name.includes(part)))
  if (unknown.length > 0) throw new Error(`there is no tool here with a name like ${unknown.join(', ')}`)
  return all.filter(({ name }) => options.tools.some((part) => name.includes(part)))
}

function closing(open: Disposable): () => void {
  return () => open[Symbol.dispose]()
}

/** Each has made a root filesystem once: that it is installed does not mean that it can. */
async function toolsThatWork(bench: Bench, tools: readonly Tool[], imageName: string): Promise<Tool[]> {
  const image = peerImage(bench.places, imageName)
  const found: Tool[] = []
  for (const tool of tools) {
    say(`trying ${tool.name}`)
    if (await attempt(bench, tool.name, 'everything', () => tryOut(bench, tool, image))) found.push(tool)
  }
  return found
}

/** Each step once: a disturbance meets one sample of a step and not all of them. */
async function measureRound(bench: Bench, tools: readonly Tool[], images: readonly string[]): Promise<void> {
  const has = (...parts: Part[]) => parts.some((part) => bench.parts.has(part))
  const many = tools.filter((tool) => tool.onlyCopies !== true)
  const usual = images.includes('debian') ? 'debian' : images[0]!
  for (const name of images) {
    say(name)
    if (has('limits')) await attempt(bench, 'limits', name, () => measureLimits(bench, name))
    if (!has('cold', 'warm', 'remove') && (!has('batch') || name !== usual)) continue
    const image = peerImage(bench.places, name)
    for (const tool of many)
      await attempt(bench, tool.name, name, () => measureImage(bench, tool, image, name === usual))
  }
  if (has('limits')) await attempt(bench, 'limits', 'short ones', () => measureShortLimits(bench))
  if (has('second')) await measureSeconds(bench, many)
  if (has('copies')) {
    say('near-copies')
    for (const tool of tools) await attempt(bench, tool.name, 'near-copies', () => measureCopies(bench, tool))
  }
  if (!tools.some(({ isGroot }) => isGroot) || !has('library', 'memory', 'read')) return
  say('by library')
  if (has('library', 'memory')) await attempt(bench, 'groot', 'library', () => measureLibrary(bench, usual))
  if (has('read')) await attempt(bench, 'groot', 'reads', () => measureReads(bench, usual))
}

/** Images that share layers, and images that share files only. */
async function measureSeconds(bench: Bench, tools: readonly Tool[]): Promise<void> {
  const known = imageNames(bench.places.layout)
  for (const [first, second] of [
    ['debian', 'python'],
    ['copies-00', 'copies-01'],
  ] as const) {
    if (!known.includes(first) || !known.includes(second)) continue
    say(`${second} after ${first}`)
    const images = [peerImage(bench.places, first), peerImage(bench.places, second)] as const
    for (const tool of tools)
      await attempt(bench, tool.name, `${second} after ${first}`, () => measureSecond(bench, tool, images))
  }
}

/** What fails is told, and not tried again: the others are worth measuring. @returns whether it worked */
async function attempt(
  { results, signal }: Bench,
  tool: string,
  what: string,
  work: () => Promise<void>,
): Promise<boolean> {
  signal.throwIfAborted()
  if (results.leftOut.some((each) => each.tool === tool && each.what === what)) return false
  try {
    await work()
    return true
  } catch (error) {
    signal.throwIfAborted()
    const message = error instanceof Error ? error.message : String(error)
    // The end of what it said; the script before is long.
    const reason = message.trim().split('\n').slice(-3).join(' ').slice(-400)
    results.leftOut.push({ tool, what, reason })
    say(`left out: ${tool}, ${what}: ${reason}`)
    return false
  }
}

/** Not always after the same neighbour. */
function rotated<T>(list: readonly T[], by: number): T[] {
  const at = list.length === 0 ? 0 : by % list.length
  return [...list.slice(at), ...list.slice(0, at)]
}

function documentOf(rounds: number, tools: readonly Tool[], results: Results): PeersDocument {
  return {
    when: new Date().toISOString(),
    rounds,
    machine: {
      processor: cpus()[0]?.model ?? 'unknown',
      processors: availableParallelism(),
      memoryBytes: totalmem(),
      kernel: release(),
      node: process.version,
      filesystem: 'ext4 with journal, loop device, direct I/O',
    },
    tools: tools.map(({ name, isGroot, version, about }) => ({ name, isGroot, version, about })),
    times: results.times,
    values: results.values,
    leftOut: results.leftOut,
  }
}

function write({ out }: Options, document: PeersDocument): void {
  mkdirSync(dirname(out), { recursive: true })
  writeFileSync(out, `${JSON.stringify(document, null, 1)}\n`)
}

function say(text: string): void {
  console.error(`bench: ${text}`)
}

function parseOptions(): Options {
  const { values } = parseArgs({
    options: {
      images: { type: 'string' },
      registry: { type: 'string' },
      chroot: { type: 'string' },
      image: { type: 'string', default: 'debian,python,node,many,fat' },
      rounds: { type: 'string', default: '5' },
      only: { type: 'string', default: PARTS.join(',') },
      nodes: { type: 'string', default: '' },
      tools: { type: 'string', default: '' },
      work: { type: 'string', default: tmpdir() },
      out: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  })
  const rounds = Number(values.rounds)
  const parts = values.only.split(',') as Part[]
  const isWrong = !Number.isInteger(rounds) || rounds < 1 || parts.some((part) => !PARTS.includes(part))
  if (values.help || values.images === undefined || values.registry === undefined || isWrong) {
    console.error(USAGE)
    process.exit(values.help ? 0 : 2)
  }
  const project = resolve(fileURLToPath(import.meta.url), '../../..')
  return {
    layout: resolve(values.images),
    registry: `127.0.0.1:${values.registry}`,
    chroot: values.chroot === undefined ? null : resolve(values.chroot),
    images: values.image.split(','),
    rounds,
    parts: new Set(parts),
    runtimes: runtimesOf(values.nodes.split(',').filter((program) => program !== '')),
    tools: values.tools.split(','),
    work: resolve(values.work),
    out: resolve(values.out ?? `${project}/bench/results/peers.json`),
  }
}

const stopped = new AbortController()
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  // Every time: a second one must not end the process while everything is being taken away.
  process.on(name, () => stopped.abort(new Error(`ended by ${name}`)))
}
try {
  await main(parseOptions(), stopped.signal)
} catch (error) {
  console.error(`bench: ${error instanceof Error ? error.message : String(error)}`)
  process.exitCode = 1
}
