/**
 * `npm run bench`: measures groot against the tools that do parts of its work, writes all samples as JSON and prints tables
 * of medians. README.md says how it is measured and what the rows mean.
 */
import { execFileSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { availableParallelism, cpus, release, tmpdir, totalmem } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { type BigLayer, writeBigLayers } from './big-layers.js'
import { makeFilesystem } from './filesystem.js'
import { imageNames, readImage } from './images.js'
import { measure, type Sample } from './measure.js'
import { clear, MAIN, type Place, rowsOf } from './rows.js'
import { type Measured, markdown, memoryTable, timesTable } from './table.js'

const USAGE = `usage: npm run bench -- --images DIR [options]

  --images DIR     an OCI layout with the images
  --registry PORT  a registry on 127.0.0.1 with the same images, as NAME:latest
  --image A,B      images to time (default: debian,node,fat)
  --rounds N       how often each row is measured (default: 5)
  --only PARTS     of: times, memory, event-loop (default: all)
  --work DIR       where the filesystem of the benchmark goes, 24 GB (default: ${tmpdir()})
  --out FILE       where the samples go (default: bench/results/latest.json)

Needs root, and: time umoci e2fsprogs mount`

const PARTS = ['times', 'memory', 'event-loop'] as const
type Part = (typeof PARTS)[number]

const FILESYSTEM_BYTES = 24 * 1024 ** 3
const MiB = 1024 ** 2
const GiB = 1024 ** 3

/** Layers that differ in nothing but size: what reading them takes must be the same. */
const BIG_LAYERS: readonly BigLayer[] = [
  { name: 'files-64MiB', files: [{ bytes: 64 * MiB, content: 'random' }] },
  {
    name: 'files-1GiB',
    files: Array.from({ length: 4 }, () => ({ bytes: 256 * MiB, content: 'random' as const })),
  },
  { name: 'zeros-64MiB', files: [{ bytes: 64 * MiB, content: 'zeros' }] },
  { name: 'zeros-4GiB', files: [{ bytes: 4 * GiB, content: 'zeros' }] },
]

interface Options {
  readonly layout: string
  readonly registry: string | undefined
  readonly images: readonly string[]
  readonly rounds: number
  readonly parts: readonly Part[]
  readonly work: string
  readonly out: string
}

interface EventLoop {
  readonly image: string
  readonly wallMs: number
  readonly turns: number
  readonly longestTurnMs: number
  readonly longestBlockMs: number
  readonly longestWorkMs: number
  readonly longestDelayMs: number
}

async function main(options: Options, signal: AbortSignal): Promise<void> {
  using filesystem = makeFilesystem(options.work, FILESYSTEM_BYTES)
  const place: Place = { work: filesystem.path, layout: options.layout, registry: options.registry }
  const results: Record<string, unknown> = { machine: describeMachine(), rounds: options.rounds }
  if (options.parts.includes('times')) {
    const times = await measureTimes(options, place, signal)
    results.times = times
    print('Times: medians', timesTable(times))
  }
  if (options.parts.includes('memory')) {
    const memory = await measureMemory(place, signal)
    results.memory = memory
    print('Peak memory: maxima', memoryTable(memory))
  }
  if (options.parts.includes('event-loop')) {
    const loops = await watchEventLoop(options.images, place, options.rounds, signal)
    results.eventLoop = loops
    print('Longest block of the caller’s event loop in a cold create', eventLoopTable(loops))
  }
  mkdirSync(dirname(options.out), { recursive: true })
  writeFileSync(options.out, `${JSON.stringify(results, null, 1)}\n`)
  console.log(`\nSamples: ${options.out}`)
}

/** Round by round, each row once, so that a disturbance meets one sample of a row and not the whole row. */
async function measureTimes(options: Options, place: Place, signal: AbortSignal): Promise<Measured[]> {
  const measured = new Map<string, { image: string; row: string; samples: Sample[] }>()
  for (let round = 1; round <= options.rounds; round++) {
    for (const name of options.images) {
      say(`round ${round} of ${options.rounds}: ${name}`)
      for (const row of rowsOf(readImage(place.layout, name), place)) {
        row.prepare?.()
        const key = `${name} ${row.name}`
        const entry = measured.get(key) ?? { image: name, row: row.name, samples: [] }
        measured.set(key, entry)
        entry.samples.push(await measure(row.command, place.work, signal))
      }
      clear(place)
    }
  }
  const order = (name: string) => options.images.indexOf(name)
  return [...measured.values()].sort((a, b) => order(a.image) - order(b.image))
}

/** A cold create of every image, and of layers that differ in size only. */
async function measureMemory(place: Place, signal: AbortSignal): Promise<Measured[]> {
  const measured: Measured[] = []
  const big = { ...place, layout: `${place.work}/big`, registry: undefined }
  say('memory: writing big layers')
  await writeBigLayers(big.layout, BIG_LAYERS, signal)
  const seen = [...distinct(imageNames(place.layout)).map((name) => ({ name, at: place }))]
  for (const { name, at } of [...seen, ...BIG_LAYERS.map((layer) => ({ name: layer.name, at: big }))]) {
    say(`memory: ${name}`)
    for (const row of rowsOf(readImage(at.layout, name), { ...at, registry: undefined })) {
      if (row.name !== 'create, cold' && row.name !== 'ingest alone') continue
      row.prepare?.()
      measured.push({ image: name, row: row.name, samples: [await measure(row.command, place.work, signal)] })
    }
    clear(place)
  }
  return measured
}

/** Near copies of one image (NAME-NN) say nothing that the first does not. */
function distinct(names: readonly string[]): string[] {
  return names.filter((name) => !/-\d+(-zstd)?$/.test(name) || /-00(-zstd)?$/.test(name))
}

async function watchEventLoop(
  images: readonly string[],
  place: Place,
  rounds: number,
  signal: AbortSignal,
): Promise<EventLoop[]> {
  const program = join(dirname(MAIN), '../bench/event-loop.js')
  const loops: EventLoop[] = []
  for (let round = 1; round <= rounds; round++) {
    for (const image of images) {
      signal.throwIfAborted()
      say(`event loop, round ${round} of ${rounds}: ${image}`)
      clear(place)
      const args = [program, `${place.work}/store`, `oci:${place.layout}:${image}`]
      const printed = execFileSync(process.execPath, args, { encoding: 'utf8' })
      loops.push({ image, ...(JSON.parse(printed) as Omit<EventLoop, 'image'>) })
    }
  }
  clear(place)
  return loops
}

function eventLoopTable(loops: readonly EventLoop[]): string {
  const images = [...new Set(loops.map(({ image }) => image))]
  const longest = (image: string, value: (loop: EventLoop) => number) =>
    Math.max(...loops.filter((loop) => loop.image === image).map(value)).toFixed(1)
  const lines = images.map((image) => [
    image,
    'create, cold',
    longest(image, ({ wallMs }) => wallMs),
    longest(image, ({ longestWorkMs }) => longestWorkMs),
    longest(image, ({ longestBlockMs }) => longestBlockMs),
    longest(image, ({ longestTurnMs }) => longestTurnMs),
    longest(image, ({ longestDelayMs }) => longestDelayMs),
  ])
  return markdown(
    [
      'image',
      'step',
      'wall ms',
      'longest work ms',
      'longest block ms',
      'longest turn ms',
      'longest timer delay ms',
    ],
    lines,
  )
}

function describeMachine(): Record<string, unknown> {
  const version = (command: string, ...args: string[]) =>
    execFileSync(command, args, { encoding: 'utf8' }).split('\n')[0]!.trim()
  return {
    when: new Date().toISOString(),
    processor: cpus()[0]?.model ?? 'unknown',
    processors: availableParallelism(),
    memoryBytes: totalmem(),
    kernel: release(),
    node: process.version,
    umoci: version('umoci', '--version'),
    tar: version('tar', '--version'),
    gzip: version('gzip', '--version'),
    filesystem: 'ext4 with journal, loop device, direct I/O',
  }
}

function print(title: string, table: string): void {
  console.log(`\n${title}\n\n${table}`)
}

function say(text: string): void {
  console.error(`bench: ${text}`)
}

function parseOptions(): Options {
  const { values } = parseArgs({
    options: {
      images: { type: 'string' },
      registry: { type: 'string' },
      image: { type: 'string', default: 'debian,node,fat' },
      rounds: { type: 'string', default: '5' },
      only: { type: 'string', default: PARTS.join(',') },
      work: { type: 'string', default: tmpdir() },
      out: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  })
  const rounds = Number(values.rounds)
  const parts = values.only.split(',') as Part[]
  const isWrong = !Number.isInteger(rounds) || rounds < 1 || parts.some((part) => !PARTS.includes(part))
  if (values.help || values.images === undefined || isWrong) {
    console.error(USAGE)
    process.exit(values.help ? 0 : 2)
  }
  const project = resolve(fileURLToPath(import.meta.url), '../../..')
  return {
    layout: resolve(values.images),
    registry: values.registry === undefined ? undefined : `127.0.0.1:${values.registry}`,
    images: values.image.split(','),
    rounds,
    parts,
    work: resolve(values.work),
    out: resolve(values.out ?? join(project, 'bench/results/latest.json')),
  }
}

const stopped = new AbortController()
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  // Every time: a second one must not end the process while the filesystem is being taken away.
  process.on(name, () => stopped.abort(new Error(`ended by ${name}`)))
}
try {
  await main(parseOptions(), stopped.signal)
} catch (error) {
  console.error(`bench: ${error instanceof Error ? error.message : String(error)}`)
  process.exitCode = 1
}
