import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { beforeEach, describe, expect, it } from 'vitest'
import type { VerityDigest } from '../../../lib/digest.js'
import { runAtOnce } from '../../../lib/linux/slices.js'
import { LockManager } from '../../../lib/locks/locks.js'
import { readGeneration } from '../../../lib/store/generation.js'
import { LayerRecords } from '../../../lib/store/layer-records.js'
import { scanObjects } from '../../../lib/store/object-scan.js'
import { ObjectTable } from '../../../lib/store/object-table.js'
import { announcedPath, announceRecord } from '../../../lib/store/publishing.js'
import { type Sweep, sweepObjects } from '../../../lib/store/sweep.js'
import { useScratch } from '../linux/scratch.js'
import { diffIdOf, SyntheticStore, writeLayerRecord } from './synthetic-store.js'

const scratch = useScratch()
let store: SyntheticStore
let locks: LockManager
beforeEach(async () => {
  store = await SyntheticStore.make(`${scratch.path}/store`)
  locks = new LockManager(store.layout.locks, { command: 'groot test' })
})

/** The sweep of a store as it is now, marked. */
function prepare(
  change: Partial<Sweep> = {},
): Sweep & { removed: { count: number; bytes: number }; strays: string[] } {
  const table = new ObjectTable()
  const strays: string[] = []
  const sink = {
    object: (digest: VerityDigest, bytes: number) => table.addObject(digest, bytes),
    stray: (name: string) => strays.push(name),
  }
  runAtOnce(scanObjects(store.layout, sink))
  const records = new LayerRecords(store.layout)
  runAtOnce(records.read(records.unread(), (digest) => table.mark(digest)))
  const removed = { count: 0, bytes: 0 }
  return {
    layout: store.layout,
    table,
    records,
    signal: new AbortController().signal,
    lockGc: () => locks.gc({ timeoutMs: 10_000 }),
    isOver: () => false,
    onRemoved: (count, bytes) => {
      removed.count += count
      removed.bytes += bytes
    },
    onFailed: (_digest, error) => {
      throw error
    },
    removed,
    strays,
    ...change,
  }
}

const many = (from: number, to: number) =>
  Array.from({ length: to - from }, (_, i) => store.object(from + i, 100 + i))

describe('a sweep', () => {
  it('takes away what no layer names, and nothing else', async () => {
    const kept = many(0, 50)
    many(50, 1000)
    store.layer('a', kept.slice(0, 30))
    store.layer('b', kept.slice(20))
    const sweep = prepare()
    expect(await sweepObjects(sweep)).toBe(true)
    expect(store.objects()).toEqual([...kept].sort())
    expect(sweep.removed).toEqual({ count: 950, bytes: 950 * 4096 })
    expect(readdirSync(store.layout.trash)).toEqual([])
  })

  it('raises the generation when it takes something away, and only then', async () => {
    store.layer('a', many(0, 5))
    const before = readGeneration(store.layout.generation)
    await sweepObjects(prepare())
    expect(readGeneration(store.layout.generation)).toBe(before)
    many(5, 6)
    await sweepObjects(prepare())
    expect(readGeneration(store.layout.generation)).not.toBe(before)
  })

  it('leaves what a layer names that came after the mark', async () => {
    const [first, second, ...others] = many(0, 20)
    const sweep = prepare()
    store.layer('late', [first!])
    const staged = `${scratch.path}/record`
    writeLayerRecord(staged, [second!])
    announceRecord(store.layout, staged, announcedPath(store.layout, 'lease', diffIdOf('announced')))
    expect(await sweepObjects(sweep)).toBe(true)
    expect(store.objects()).toEqual([first, second].sort())
    expect(sweep.removed.count).toBe(others.length)
  })

  it('leaves what a layer names that is announced between two batches', async () => {
    // Enough for several batches; from the second on, everything that is left is wanted by a layer.
    many(0, 4000)
    let left: VerityDigest[] = []
    let batches = 0
    const sweep = prepare()
    const lockGc = async () => {
      if (++batches === 2) {
        left = store.objects()
        store.layer('late', left)
      }
      return await sweep.lockGc()
    }
    expect(await sweepObjects({ ...sweep, lockGc })).toBe(true)
    expect(left.length).toBeGreaterThan(0)
    expect(store.objects()).toEqual(left)
  })

  it('keeps the objects of a record that cannot be read to its end, as far as it can', async () => {
    const objects = many(0, 10)
    store.layer('a', objects)
    const path = store.layout.layer(diffIdOf('a'))
    const bytes = readFileSync(path)
    writeFileSync(path, bytes.subarray(0, bytes.length - 8))
    const sweep = prepare()
    expect([...sweep.records.damaged.keys()]).toEqual([diffIdOf('a')])
    await sweepObjects(sweep)
    expect(store.objects()).toEqual([...objects].sort())
  })

  it('stops between batches when its time is over, and when it is aborted', async () => {
    many(0, 3000)
    let asked = 0
    const sweep = prepare({ isOver: () => ++asked > 1 })
    expect(await sweepObjects(sweep)).toBe(false)
    const left = store.objects().length
    expect(left).toBeGreaterThan(0)
    expect(left).toBeLessThan(3000)
    await expect(sweepObjects(prepare({ signal: AbortSignal.abort() }))).rejects.toMatchObject({
      code: 'aborted',
    })
    expect(store.objects()).toHaveLength(left)
    expect(readdirSync(store.layout.trash)).toEqual([])
  })

  it('lets others have the lock who wait for it', async () => {
    many(0, 3000)
    const waits: number[] = []
    let isDone = false
    const others = async () => {
      while (!isDone) {
        const start = performance.now()
        await (await locks.gc({ timeoutMs: 10_000 })).release()
        waits.push(performance.now() - start)
        await new Promise((resolve) => setTimeout(resolve, 3))
      }
    }
    const other = others()
    await sweepObjects(prepare())
    isDone = true
    await other
    expect(store.objects()).toEqual([])
    expect(waits.length).toBeGreaterThan(3)
  })

  it('goes on when one object cannot be taken away', async () => {
    const [stuck, other] = many(0, 2)
    const failed: VerityDigest[] = []
    // Large enough that it goes by way of the trash, where a directory that is not empty stands in its place.
    writeFileSync(
      `${store.layout.objects}/${stuck!.slice(0, 2)}/${stuck!.slice(2)}`,
      Buffer.alloc(2_000_000, 1),
    )
    const sweep = prepare({ onFailed: (digest) => failed.push(digest) })
    mkdirSync(`${store.layout.trash}/object-${stuck}/x`, { recursive: true })
    await sweepObjects(sweep)
    expect(failed).toEqual([stuck])
    expect(store.objects()).toEqual([stuck])
    expect(existsSync(`${store.layout.objects}/${other!.slice(0, 2)}/${other!.slice(2)}`)).toBe(false)
  })

  it('never follows a symlink, and tells what is no part of a store', async () => {
    mkdirSync(`${scratch.path}/outside`)
    const name = 'a'.repeat(62)
    writeFileSync(`${scratch.path}/outside/${name}`, 'kept')
    symlinkSync(`${scratch.path}/outside`, `${store.layout.objects}/aa`)
    mkdirSync(`${store.layout.objects}/bb`)
    symlinkSync(`${scratch.path}/outside/${name}`, `${store.layout.objects}/bb/${name}`)
    writeFileSync(`${store.layout.objects}/bb/short`, '')
    writeFileSync(`${store.layout.objects}/stray`, '')
    const sweep = prepare()
    await sweepObjects(sweep)
    expect(sweep.strays.sort()).toEqual(['aa', 'bb/short', 'stray'])
    expect(readFileSync(`${scratch.path}/outside/${name}`, 'utf8')).toBe('kept')
    expect(readdirSync(`${store.layout.objects}/bb`)).toEqual(['short'])
    rmSync(`${store.layout.objects}/aa`)
  })

  it('removes an object that was made a closed directory', async () => {
    const digest = 'c'.repeat(64)
    mkdirSync(`${store.layout.objects}/cc/${digest.slice(2)}/deep`, { recursive: true })
    chmodSync(`${store.layout.objects}/cc/${digest.slice(2)}`, 0o500)
    await sweepObjects(prepare())
    expect([readdirSync(`${store.layout.objects}/cc`), readdirSync(store.layout.trash)]).toEqual([[], []])
  })
})
