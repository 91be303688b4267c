/**
 * What a pull takes: groot against skopeo, podman and ctr where they are installed, from a registry of the loopback, plain
 * and with a distant link's latency, with many connections and as if there were one. Run as `node dist/bench/pull.js --help`.
 */
import { spawn, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { layer } from '../lib/testkit/layer.js'
import { writeLayout } from '../test/images/layout.js'
import { findTool } from '../test/images/tools.js'
import { writeFigures } from './figures.js'
import { makeFilesystem } from './filesystem.js'
import { readImage } from './images.js'
import { measure, median, type Sample } from './measure.js'
import { markdown } from './table.js'

const USAGE = `usage: node dist/bench/pull.js --images DIR [options]

  --images DIR   an OCI layout
  --image NAME   which of its images (default: node)
  --rounds N     samples of each figure (default: 5)
  --latency MS   of each request, in the rows that have one (default: 50)
  --work DIR     where the filesystem of the benchmark goes, 8 GB (default: ${tmpdir()})
  --out FILE     where the figures go

Needs root, and: e2fsprogs mount time; skopeo, podman and ctr are measured where they are`

const DIST = resolve(dirname(fileURLToPath(import.meta.url)), '..')
const FILESYSTEM_BYTES = 8 * 1024 ** 3
const PODMAN_RUN = '/run/groot-bench'
const LAYERS = 20
const LAYER_BYTES = 4 * 1024 ** 2

interface Source {
  readonly layout: string
  readonly image: string
  readonly bytes: number
  readonly latencyMs: number
  readonly connections: 'many' | 'one'
}

interface Tool {
  readonly name: string
  /** What it takes the image to. */
  readonly about: string
  argv(registry: string, image: string, place: string): readonly [string, ...string[]]
}

/** Those that may be here; groot first. */
function knownTools(): Tool[] {
  const all: (Tool & { readonly needs?: string })[] = [
    {
      name: 'groot pull',
      about: 'verified, unpacked into objects and layer records, durable',
      argv: (registry, image, place) => [
        process.execPath,
        join(DIST, 'cli/main.cjs'),
        '--store',
        `${place}/store`,
        '--driver',
        'vfs',
        'pull',
        '--insecure-registry',
        registry,
        `docker://${registry}/${image}:latest`,
      ],
    },
    {
      name: 'skopeo copy',
      needs: 'skopeo',
      about: 'blobs verified and kept as they are in an OCI layout; nothing is unpacked',
      argv: (registry, image, place) => [
        'skopeo',
        '--insecure-policy',
        'copy',
        '--quiet',
        '--src-tls-verify=false',
        `docker://${registry}/${image}:latest`,
        `oci:${place}/layout:${image}`,
      ],
    },
    {
      name: 'podman pull',
      needs: 'podman',
      about: 'unpacked into its storage',
      argv: (registry, image, place) => [
        'podman',
        '--root',
        `${place}/podman`,
        // Its path may have 50 characters.
        '--runroot',
        PODMAN_RUN,
        'pull',
        '--quiet',
        '--tls-verify=false',
        `${registry}/${image}:latest`,
      ],
    },
    {
      name: 'ctr images pull',
      needs: 'ctr',
      about:
        'unpacked by the containerd of this machine, which has to run; its processor time is not counted',
      argv: (registry, image) => ['ctr', 'images', 'pull', '--plain-http', `${registry}/${image}:latest`],
    },
  ]
  return all.filter(({ needs }) => needs === undefined || findTool(needs) !== null)
}

interface Figure {
  readonly source: Omit<Source, 'layout'>
  readonly tool: string
  readonly samples: readonly Sample[]
  /** Megabytes of the compressed layers for each second of the median. */
  readonly megabytesPerSecond: number
  readonly cpuSecondsPerMegabyte: number
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      images: { type: 'string' },
      image: { type: 'string', default: 'node' },
      rounds: { type: 'string', default: '5' },
      latency: { type: 'string', default: '50' },
      work: { type: 'string', default: tmpdir() },
      out: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help || values.images === undefined) return console.log(USAGE)
  const stopping = new AbortController()
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => stopping.abort())
  using filesystem = makeFilesystem(values.work, FILESYSTEM_BYTES)
  const many = writeManyLayers(`${filesystem.path}/many`)
  const one = {
    layout: resolve(values.images),
    image: values.image,
    bytes: bytesOf(values.images, values.image),
  }
  const latencyMs = Number(values.latency)
  const sources: Source[] = [
    { ...one, latencyMs: 0, connections: 'many' },
    { ...many, latencyMs: 0, connections: 'many' },
    { ...many, latencyMs, connections: 'many' },
    { ...many, latencyMs, connections: 'one' },
  ]
  const bench = { place: filesystem.path, rounds: Number(values.rounds), signal: stopping.signal }
  const tools = await toolsThatWork(sources[1]!, bench)
  const figures = await measureAll(sources, tools, bench)
  print(figures, tools)
  writeFigures(values.out, { figures })
}

interface Bench {
  /** The filesystem that everything is written to. */
  readonly place: string
  readonly rounds: number
  readonly signal: AbortSignal
}

/** Each has pulled once: that it is installed does not mean that it can. */
async function toolsThatWork(source: Source, bench: Bench): Promise<Tool[]> {
  const found: Tool[] = []
  for (const tool of knownTools()) {
    try {
      await pullOnce(source, tool, bench)
      found.push(tool)
    } catch (error) {
      bench.signal.throwIfAborted()
      if (found.length === 0) throw error
      console.error(`${tool.name} is left out: ${error instanceof Error ? error.message : String(error)}`)
    }
  }
  return found
}

/** Round by round each tool once for each source, so that a disturbance meets one sample of each. */
async function measureAll(
  sources: readonly Source[],
  tools: readonly Tool[],
  bench: Bench,
): Promise<Figure[]> {
  const rows = sources.flatMap((source) => tools.map((tool) => ({ source, tool, samples: [] as Sample[] })))
  for (let round = 0; round < bench.rounds; round++) {
    for (const { source, tool, samples } of rows) samples.push(await pullOnce(source, tool, bench))
  }
  return rows.map(({ source: { layout: _, ...source }, tool, samples }) => {
    const megabytes = source.bytes / 1e6
    return {
      source,
      tool: tool.name,
      samples,
      megabytesPerSecond: megabytes / median(samples.map(({ wallSeconds }) => wallSeconds)),
      cpuSecondsPerMegabyte: median(samples.map(({ cpuSeconds }) => cpuSeconds)) / megabytes,
    }
  })
}

/** Into an empty place. */
async function pullOnce(source: Source, tool: Tool, { place, signal }: Bench): Promise<Sample> {
  const target = `${place}/target`
  mkdirSync(target)
  try {
    await using server = await serve(source)
    return await measure({ argv: tool.argv(server.host, source.image, target) }, place, signal)
  } finally {
    // Podman mounts a directory of its storage on itself.
    spawnSync('umount', ['--quiet', '--lazy', `${target}/podman/overlay`], { stdio: 'ignore' })
    for (const path of [target, PODMAN_RUN]) rmSync(path, { recursive: true, force: true })
  }
}

/** In a process of its own, so that what it takes is not counted. */
async function serve({
  layout,
  latencyMs,
  connections,
}: Source): Promise<{ host: string } & AsyncDisposable> {
  const argv = [join(DIST, 'bench/layout-server.js'), layout, String(latencyMs), connections]
  const child = spawn(process.execPath, argv, { stdio: ['pipe', 'pipe', 'inherit'] })
  const gone = new Promise((done) => child.once('exit', done))
  const [port] = await child.stdout.take(1).toArray()
  return {
    host: `127.0.0.1:${String(port).trim()}`,
    async [Symbol.asyncDispose]() {
      child.stdin.end()
      await gone
    },
  }
}

/** Layers of one size that do not compress: half the figures are about how many there are. */
function writeManyLayers(directory: string): { layout: string; image: string; bytes: number } {
  const layers = Array.from({ length: LAYERS }, (_, at) =>
    layer().file(`file-${at}`, randomBytes(LAYER_BYTES)).build(),
  )
  writeLayout(directory, [{ name: 'many', layers, config: {} }], ['gzip'])
  return { layout: directory, image: 'many', bytes: bytesOf(directory, 'many') }
}

function bytesOf(layout: string, image: string): number {
  return readImage(layout, image).layers.reduce((sum, { bytes }) => sum + bytes, 0)
}

function print(figures: readonly Figure[], tools: readonly Tool[]): void {
  const header = [
    'image',
    'tool',
    'connections',
    'latency ms',
    'wall s',
    'MB/s',
    'CPU s',
    'CPU s/MB',
    'peak MB',
  ]
  const of = (samples: readonly Sample[], value: (sample: Sample) => number) => median(samples.map(value))
  const lines = figures.map(({ source, tool, samples, megabytesPerSecond, cpuSecondsPerMegabyte }) => [
    `${source.image}, ${(source.bytes / 1e6).toFixed(0)} MB`,
    tool,
    source.connections,
    String(source.latencyMs),
    of(samples, ({ wallSeconds }) => wallSeconds).toFixed(2),
    megabytesPerSecond.toFixed(0),
    of(samples, ({ cpuSeconds }) => cpuSeconds).toFixed(2),
    cpuSecondsPerMegabyte.toFixed(4),
    (of(samples, ({ peakBytes }) => peakBytes) / 1e6).toFixed(0),
  ])
  console.log(markdown(header, lines))
  for (const { name, about } of tools) console.log(`\n* ${name}: ${about}`)
}

await main()
