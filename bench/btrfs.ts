/**
 * What the btrfs driver promises, measured on fresh filesystems with direct I/O: what a warm create with a limit takes by library,
 * how many a second there are with several at once, and how that compares with full quotas, with the command of btrfs-progs and
 * with the system call alone.
 * Run as `node dist/bench/btrfs.js --help`.
 */
import { execFileSync, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { byteString } from '../lib/bytes.js'
import { type GrootStore, openStore } from '../lib/index.js'
import { createSnapshot, destroySubvolume } from '../lib/linux/btrfs-subvolume.js'
import { pathString } from '../lib/linux/c-string.js'
import { close, openDirectory } from '../lib/linux/files.js'
import { type LayerBuilder, layer } from '../lib/testkit/layer.js'
import { writeLayout } from '../test/images/layout.js'
import { writeFigures } from './figures.js'
import { markdown } from './table.js'

const USAGE = `usage: node dist/bench/btrfs.js [options]

  --rounds N     creates and deletes for each figure (default: 100)
  --files N      files of the image (default: 10000)
  --at-once N    how many creates run beside each other (default: 5)
  --work DIR     where the filesystems of the benchmark go, 4 GB each, sparse (default: ${tmpdir()})
  --out FILE     where the figures go

Needs root, and: btrfs-progs mount`

const FILESYSTEM_BYTES = 4 * 1024 ** 3
const LIMIT_BYTES = 64 * 1024 ** 2

interface Figures {
  readonly what: string
  readonly p50: number
  readonly p99: number
  /** A second, with several at once. */
  readonly rate: number
}

interface Settings {
  readonly rounds: number
  readonly files: number
  readonly atOnce: number
  readonly work: string
}

/** One way to make root filesystems. */
interface Way {
  make(id: string): Promise<unknown>
  remove(id: string): Promise<unknown>
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      rounds: { type: 'string', default: '100' },
      files: { type: 'string', default: '10000' },
      'at-once': { type: 'string', default: '5' },
      work: { type: 'string', default: tmpdir() },
      out: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) return console.log(USAGE)
  const settings = {
    rounds: Number(values.rounds),
    files: Number(values.files),
    atOnce: Number(values['at-once']),
    work: values.work,
  }
  const figures = [
    ...(await onNewFilesystem(settings, false, measureSimple)),
    ...(await onNewFilesystem(settings, true, measureFull)),
  ]
  console.log(
    markdown(
      ['way', 'create p50 ms', 'p99 ms', `creates/s, ${settings.atOnce} at once`],
      figures.map(({ what, p50, p99, rate }) => [what, p50.toFixed(2), p99.toFixed(2), rate.toFixed(1)]),
    ),
  )
  writeFigures(values.out, { ...settings, figures })
}

async function onNewFilesystem(
  settings: Settings,
  fullQuotas: boolean,
  measure: (place: string, settings: Settings) => Promise<Figures[]>,
): Promise<Figures[]> {
  const directory = mkdtempSync(join(settings.work, 'groot-bench-'))
  const undo = [() => rmSync(directory, { recursive: true, force: true })]
  try {
    const image = join(directory, 'image')
    const place = join(directory, 'mounted')
    writeFileSync(image, '')
    truncateSync(image, FILESYSTEM_BYTES)
    call('mkfs.btrfs', '--quiet', image)
    const device = call('losetup', '--direct-io=on', '--find', '--show', image).trim()
    undo.push(() => call('losetup', '--detach', device))
    mkdirSync(place)
    call('mount', device, place)
    undo.push(() => call('umount', '--lazy', place))
    if (fullQuotas) call('btrfs', 'quota', 'enable', place)
    return await measure(place, settings)
  } finally {
    for (const step of undo.reverse()) step()
  }
}

async function measureSimple(place: string, settings: Settings): Promise<Figures[]> {
  await using store = await openStore({ path: `${place}/store`, driver: 'btrfs' })
  const image = writeImage(place, settings.files)
  await store.create({ image, id: 'first' })
  const found = [await measureWay('groot', byLibrary(store, image, false), settings)]
  found.push(await measureWay('groot, with a limit', byLibrary(store, image, true), settings))
  const base = `${place}/store/bundles/first/rootfs`
  found.push(await measureWay('btrfs subvolume snapshot', byCommand(base, place), settings))
  found.push(await measureByCall(base, place, settings))
  return found
}

/** What the system call alone takes, with nothing else to be committed: no way of making snapshots can take less. */
async function measureByCall(base: string, place: string, settings: Settings): Promise<Figures> {
  const [source, directory] = [openDirectory(pathString(base)), openDirectory(pathString(place))]
  const name = (id: string) => byteString(`by-call-${id}`)
  try {
    return await measureWay(
      'BTRFS_IOC_SNAP_CREATE_V2',
      {
        make: (id) => createSnapshot(directory, name(id), source, { readOnly: false, groups: null }),
        remove: async (id) => destroySubvolume(directory, name(id)),
      },
      settings,
    )
  } finally {
    close(source)
    close(directory)
  }
}

async function measureFull(place: string, settings: Settings): Promise<Figures[]> {
  await using store = await openStore({ path: `${place}/store`, driver: 'btrfs' })
  const image = writeImage(place, settings.files)
  await store.create({ image, id: 'first' })
  call('btrfs', 'quota', 'rescan', '-w', place)
  const way = byLibrary(store, image, true)
  return [await measureWay('groot, with a limit by full quotas', way, settings)]
}

function byLibrary(store: GrootStore, image: string, isLimited: boolean): Way {
  const limit = isLimited ? { diskLimitSizeBytes: LIMIT_BYTES, excludeImageFromQuota: true } : {}
  return {
    make: (id) => store.create({ image, id, ...limit }),
    remove: (id) => store.delete(id),
  }
}

function byCommand(base: string, place: string): Way {
  const at = (id: string) => `${place}/by-command-${id}`
  return {
    make: (id) => run('btrfs', 'subvolume', 'snapshot', base, at(id)),
    remove: (id) => run('btrfs', 'subvolume', 'delete', at(id)),
  }
}

async function measureWay(what: string, way: Way, { rounds, atOnce }: Settings): Promise<Figures> {
  const times: number[] = []
  for (let i = 0; i < rounds; i++) {
    const begin = performance.now()
    await way.make(`timed-${i}`)
    times.push(performance.now() - begin)
    await way.remove(`timed-${i}`)
  }
  times.sort((a, b) => a - b)
  const at = (part: number) => times[Math.floor(times.length * part)]!
  let next = 0
  const begin = performance.now()
  const worker = async () => {
    while (next < rounds) await way.make(`at-once-${next++}`)
  }
  await Promise.all(Array.from({ length: atOnce }, worker))
  const rate = rounds / ((performance.now() - begin) / 1000)
  for (let i = 0; i < rounds; i++) await way.remove(`at-once-${i}`)
  return { what, p50: at(0.5), p99: at(0.99), rate }
}

function writeImage(place: string, files: number): string {
  const made: LayerBuilder = layer()
  for (let i = 0; i < files; i++)
    made.file(`directory-${i % 100}/file-${i}`, `content of file ${i}\n`.repeat(20))
  writeLayout(`${place}/image`, [{ name: 'image', layers: [made.build()], config: {} }], ['gzip'])
  return `oci:${place}/image`
}

function run(command: string, ...args: string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'inherit'] })
    child.on('error', reject)
    child.on('exit', (status) => (status === 0 ? resolve() : reject(new Error(`${command}: ${status}`))))
  })
}

function call(command: string, ...args: string[]): string {
  return execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] })
}

await main()
