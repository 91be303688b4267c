/**
 * What only groot has: creates and deletes by library, what its mounts cost those who read, and memory.
 */
import { execFile, execFileSync } from 'node:child_process'
import { randomBytes, randomInt } from 'node:crypto'
import { closeSync, mkdirSync, openSync, readSync, writeFileSync, writeSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { initStore, openStore } from '../lib/index.js'
import { removeTree } from '../lib/linux/remove-tree.js'
import { unmountBelow } from './filesystem.js'
import type { LibraryAtOnce, LibraryMemory } from './library.js'
import type { LibraryTimes } from './library-times.js'
import { environmentWith, measure } from './measure.js'
import { type Bench, peerImage } from './peers-rows.js'
import { type Runtime, runNow, script } from './peers-tools.js'

const PROGRAM = join(dirname(fileURLToPath(import.meta.url)), 'library.js')
const CREATES = 1000
const AT_ONCE = 300
const BUNDLES = 200
const MiB = 1024 ** 2
const RANDOM_FILE_BYTES = 256 * MiB
const RANDOM_READ_BYTES = 4096
const RANDOM_MS = 2000
const GROOT = 'groot'
const PLAIN = 'a plain directory'

/** Times and memory of bundles; times both with and without syncs, by each Node. */
export async function measureLibrary(bench: Bench, name: string): Promise<void> {
  for (const title of ['groot', 'groot --no-sync']) {
    await inStore(bench, name, title !== 'groot', async (path, image) => {
      const { parts, runtimes } = bench
      if (parts.has('library'))
        for (const runtime of runtimes) await measureTimes(bench, name, title, runtime, path, image)
      if (parts.has('memory') && title === 'groot') await measureMemory(bench, name, path, image)
    })
  }
}

async function measureTimes(
  { results, signal }: Bench,
  name: string,
  title: string,
  { program, suffix }: Runtime,
  path: string,
  image: string,
): Promise<void> {
  const tool = `${title}${suffix}`
  const times = await call<LibraryTimes>(signal, program, 'times', path, image, CREATES)
  results.value('warm create by library, p50', name, tool, 'ms', times.createP50)
  results.value('warm create by library, p99', name, tool, 'ms', times.createP99)
  results.value('delete by library, p50', name, tool, 'ms', times.deleteP50)
  results.value('delete by library, p99', name, tool, 'ms', times.deleteP99)
  const { createsPerSecond } = await call<LibraryAtOnce>(signal, program, 'at-once', path, image, AT_ONCE)
  results.value(`${AT_ONCE} creates at once by library`, name, tool, '1/s', createsPerSecond)
}

async function measureMemory(
  { results, signal }: Bench,
  name: string,
  path: string,
  image: string,
): Promise<void> {
  const memory = await call<LibraryMemory>(signal, process.execPath, 'memory', path, image, BUNDLES)
  results.value(`memory of ${BUNDLES} bundles, each, process`, name, 'groot', 'bytes', memory.process)
  results.value(`memory of ${BUNDLES} bundles, each, kernel`, name, 'groot', 'bytes', memory.kernel)
}

async function call<T>(
  signal: AbortSignal,
  program: string,
  work: string,
  path: string,
  image: string,
  count: number,
): Promise<T> {
  const args = ['--expose-gc', PROGRAM, work, path, image, String(count)]
  const { stdout } = await promisify(execFile)(program, args, { signal, env: environmentWith() })
  return JSON.parse(stdout) as T
}

/** A store that has the image. */
async function inStore(
  { places, signal }: Bench,
  name: string,
  noSync: boolean,
  work: (path: string, image: string) => Promise<void> | void,
): Promise<void> {
  signal.throwIfAborted()
  const path = `${places.place}/library`
  const image = `docker://${peerImage(places, name).reference}`
  try {
    await initStore({ path, driver: 'overlay', noSync })
    {
      await using store = await openStore({ path })
      await store.pull({ image })
    }
    await work(path, image)
  } finally {
    unmountBelow(path)
    removeTree(path)
  }
}

/** All files of an image, and one large file at random, through the mount and from a plain directory. */
export async function measureReads(bench: Bench, name: string): Promise<void> {
  const directory = `${bench.places.place}/read`
  mkdirSync(directory)
  try {
    await inStore(bench, name, false, async (path, image) => {
      await using store = await openStore({ path })
      const { rootfs } = await store.create({ image, id: 'read' })
      runNow(script(null, `cp -a ${rootfs} ${directory}/plain`))
      await readAll(bench, name, { [GROOT]: rootfs, [PLAIN]: `${directory}/plain` })
      const big = await store.create({ image: writeBigFile(directory), id: 'big' })
      readAtRandom(bench, { [GROOT]: big.rootfs, [PLAIN]: `${directory}/big` })
    })
  } finally {
    removeTree(directory)
  }
}

async function readAll(
  { places, results, signal }: Bench,
  name: string,
  roots: Readonly<Record<string, string>>,
) {
  for (const [tool, root] of Object.entries(roots)) {
    dropCaches()
    const all = script(null, `find ${root} -type f -exec cat {} + >/dev/null`)
    results.time('find and read all', name, tool, await measure(all, places.place, signal))
  }
}

function readAtRandom({ results }: Bench, roots: Readonly<Record<string, string>>): void {
  for (const [tool, root] of Object.entries(roots)) {
    dropCaches()
    results.value('random reads of 4 KiB', '256 MiB', tool, '1/s', randomReads(`${root}/file`))
  }
}

/** @returns a tar of the file that is in the directory `big` */
function writeBigFile(directory: string): string {
  mkdirSync(`${directory}/big`)
  const fd = openSync(`${directory}/big/file`, 'w')
  for (let written = 0; written < RANDOM_FILE_BYTES; written += MiB) writeSync(fd, randomBytes(MiB))
  closeSync(fd)
  const tar = `${directory}/big.tar`
  execFileSync('tar', ['-C', `${directory}/big`, '-cf', tar, 'file'])
  return tar
}

/** @returns how many in a second */
function randomReads(path: string): number {
  const buffer = Buffer.alloc(RANDOM_READ_BYTES)
  const fd = openSync(path, 'r')
  const pages = RANDOM_FILE_BYTES / RANDOM_READ_BYTES
  const begun = performance.now()
  let count = 0
  while (performance.now() - begun < RANDOM_MS) {
    readSync(fd, buffer, 0, buffer.length, randomInt(pages) * RANDOM_READ_BYTES)
    count++
  }
  const perSecond = (count * 1000) / (performance.now() - begun)
  closeSync(fd)
  return perSecond
}

function dropCaches(): void {
  execFileSync('sync')
  writeFileSync('/proc/sys/vm/drop_caches', '3')
}
