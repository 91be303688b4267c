/**
 * What only groot has: creates and deletes by library, what its mounts cost those who read, and memory.
 */
import { execFileSync } from 'node:child_process'
import { randomBytes, randomInt } from 'node:crypto'
import { closeSync, mkdirSync, openSync, readSync, rmSync, writeFileSync, writeSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { initStore, openStore } from '../lib/index.js'
import { removeTree } from '../lib/linux/remove-tree.js'
import { unmountBelow } from './filesystem.js'
import type { LibraryAtOnce, LibraryMemory } from './library.js'
import type { LibraryTimes } from './library-times.js'
import { measure } from './measure.js'
import type { Bench } from './peers-rows.js'
import { runNow, script } from './peers-tools.js'

const PROGRAM = join(dirname(fileURLToPath(import.meta.url)), 'library.js')
const CREATES = 200
const AT_ONCE = 300
const BUNDLES = 200
const MiB = 1024 ** 2
const RANDOM_FILE_BYTES = 256 * MiB
const RANDOM_READ_BYTES = 4096
const RANDOM_MS = 2000

/** Times and memory of bundles, both with and without syncs. */
export async function measureLibrary(bench: Bench, name: string): Promise<void> {
  for (const tool of ['groot', 'groot --no-sync']) {
    await inStore(
      bench,
      tool !== 'groot',
      async (path, image) => {
        if (bench.parts.has('library')) measureTimes(bench, name, tool, path, image)
        if (bench.parts.has('memory') && tool === 'groot') {
          const { process, kernel } = call<LibraryMemory>('memory', path, image, BUNDLES)
          bench.results.value(`memory of ${BUNDLES} bundles, each, process`, name, tool, 'bytes', process)
          bench.results.value(`memory of ${BUNDLES} bundles, each, kernel`, name, tool, 'bytes', kernel)
        }
      },
      name,
    )
  }
}

function measureTimes({ results }: Bench, name: string, tool: string, path: string, image: string): void {
  const times = call<LibraryTimes>('times', path, image, CREATES)
  results.value('warm create by library, p50', name, tool, 'ms', times.createP50)
  results.value('warm create by library, p99', name, tool, 'ms', times.createP99)
  results.value('delete by library, p50', name, tool, 'ms', times.deleteP50)
  results.value('delete by library, p99', name, tool, 'ms', times.deleteP99)
  const { createsPerSecond } = call<LibraryAtOnce>('at-once', path, image, AT_ONCE)
  results.value(`${AT_ONCE} creates at once by library`, name, tool, '1/s', createsPerSecond)
}

function call<T>(work: string, path: string, image: string, count: number): T {
  const args = ['--expose-gc', PROGRAM, work, path, image, String(count)]
  return JSON.parse(execFileSync(process.execPath, args, { encoding: 'utf8' })) as T
}

/** A store that has the image. */
async function inStore(
  { places, signal }: Bench,
  noSync: boolean,
  work: (path: string, image: string) => Promise<void> | void,
  name: string,
): Promise<void> {
  signal.throwIfAborted()
  const path = `${places.place}/library`
  const image = `oci:${places.layout}:${name}`
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
    await inStore(
      bench,
      false,
      async (path, image) => {
        await using store = await openStore({ path })
        const { rootfs } = await store.create({ image, id: 'read' })
        runNow(script(null, `cp -a ${rootfs} ${directory}/plain`))
        for (const [tool, root] of [
          ['groot', rootfs],
          ['a plain directory', `${directory}/plain`],
        ] as const) {
          dropCaches()
          const all = script(null, `find ${root} -type f -exec cat {} + >/dev/null`)
          bench.results.time(
            'find and read all',
            name,
            tool,
            await measure(all, bench.places.place, bench.signal),
          )
        }
        const tar = writeBigFile(directory)
        const big = await store.create({ image: tar, id: 'big' })
        for (const [tool, root] of [
          ['groot', big.rootfs],
          ['a plain directory', `${directory}/big`],
        ] as const) {
          dropCaches()
          bench.results.value('random reads of 4 KiB', '256 MiB', tool, '1/s', randomReads(`${root}/file`))
        }
      },
      name,
    )
  } finally {
    removeTree(directory)
  }
}

/** @returns a tar of the file that is in the directory `big` */
function writeBigFile(directory: string): string {
  mkdirSync(`${directory}/big`)
  const fd = openSync(`${directory}/big/file`, 'w')
  for (let written = 0; written < RANDOM_FILE_BYTES; written += MiB) writeSync(fd, randomBytes(MiB))
  closeSync(fd)
  const tar = `${directory}/big.tar`
  rmSync(tar, { force: true })
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
