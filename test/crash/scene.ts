/**
 * A store that things happen to, and what must be true of it afterwards: no half bundles, exact trees, nothing left.
 */
import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { expect } from 'vitest'
import { type GrootStore, openStore } from '../../lib/index.js'
import { parseMountPoints } from '../../lib/linux/mount-points.js'
import { type LayerBuilder, layer } from '../../lib/testkit/layer.js'
import { treeLines } from '../../lib/testkit/tree-lines.js'
import { AS_ROOT, EMPTY, Place } from '../lib/operations/testing.js'

/** Chances that can be had again: a run prints its seed. */
export class Chance {
  #state: number

  constructor(seed: number) {
    this.#state = seed >>> 0
  }

  /** At least 0, less than 1. */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0
    let t = this.#state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }

  /** From 0 to below `count`. */
  pick(count: number): number {
    return Math.floor(this.next() * count)
  }
}

/** That of the environment, so that a run can be repeated, or a new one. */
export function chooseSeed(): number {
  return Number(process.env.GROOT_CRASH_SEED ?? Math.floor(Math.random() * 2 ** 31))
}

/** Whether this is the long run (npm run test:crash), and not the one among all tests. */
export const IS_LONG = process.env.GROOT_CRASH === 'long'

export function crashLayer(seed: number, count: number, bytes: number): LayerBuilder {
  const made = layer().dir('etc').file('etc/passwd', 'root:x:0:0::/root:/bin/sh\n')
  for (let i = 0; i < count; i++)
    made.file(`d${i % 5}/f${seed}-${i}`, Buffer.alloc(bytes + i, `content ${seed} ${i} `))
  return made.symlink(`link${seed}`, `d0/f${seed}-0`)
}

/** The limit of all bundles of a scene: by the btrfs that the driver is on, by a file for others. */
const LIMIT_BYTES = 64 * 1024 * 1024
const limitOf = (driver: string) => ({
  diskLimitSizeBytes: LIMIT_BYTES,
  excludeImageFromQuota: true,
  quotaBackend: driver === 'btrfs' ? ('native' as const) : ('loop' as const),
})

export class Scene implements AsyncDisposable {
  readonly driver: string
  readonly place = new Place()
  readonly image: string
  readonly other: string
  store!: GrootStore
  readonly #limit: object
  #model: readonly string[] = []
  #drivers = ''

  constructor(driver: string, isLimited: boolean) {
    this.driver = driver
    this.#limit = isLimited ? limitOf(driver) : {}
    this.image = this.place.image([crashLayer(0, 24, 3000), crashLayer(1, 12, 90_000)])
    this.other = this.place.image([crashLayer(2, 20, 2000), crashLayer(0, 24, 3000)])
  }

  /** @param isLimited whether all bundles have a disk limit */
  static async open(driver: string, isLimited = false): Promise<Scene> {
    const scene = new Scene(driver, isLimited)
    scene.store = await openStore({ path: scene.place.store, driver, thread: 'caller' })
    const { rootfs } = await scene.store.create(scene.request('model'))
    scene.#model = treeLines(rootfs)
    await scene.store.delete('model')
    await scene.store.clean()
    scene.#drivers = scene.#driverFiles()
    return scene
  }

  request(id: string, image = this.image) {
    return { image, id, ignoreOwnership: !AS_ROOT, ...this.#limit }
  }

  /** Shows whole bundles only. @returns their ids */
  async checkWhole(): Promise<string[]> {
    const listed = await this.store.list()
    for (const { id, rootfs } of listed) {
      expect(existsSync(`${this.place.store}/bundles/${id}/config.json`)).toBe(true)
      expect(treeLines(rootfs)).toEqual(this.#model)
    }
    return listed.map(({ id }) => id)
  }

  /** The same create succeeds, with the exact tree. */
  async checkCreate(id: string): Promise<void> {
    const { rootfs } = await this.store.create(this.request(id))
    expect(treeLines(rootfs)).toEqual(this.#model)
  }

  /** One clean, and nothing is left but what the bundles need. */
  async checkClean(bundles: readonly string[] = []): Promise<void> {
    expect(await this.store.clean()).toMatchObject({ skipped: [], complete: true })
    this.checkNothingLeft(bundles)
  }

  checkNothingLeft(bundles: readonly string[] = []): void {
    const { store } = this.place
    const records = bundles.map((id) => `${id}.json`)
    expect(this.place.contents()).toEqual({ ...EMPTY, bundles, records })
    expect(namesIn(`${store}/gc/publishing`)).toEqual([])
    expect(namesIn(`${store}/locks`)).toEqual([])
    expect(temporaries(store)).toEqual([])
    expect(
      mountsBelow(store).filter((at) => !bundles.some((id) => at.startsWith(`${store}/bundles/${id}/`))),
    ).toEqual([])
    expect(
      loopDevices(store).filter((file) => !bundles.some((id) => file.startsWith(`${store}/bundles/${id}/`))),
    ).toEqual([])
    if (bundles.length > 0) return
    for (const name of ['layers', 'bases', 'images/refs']) expect(namesIn(`${store}/${name}`)).toEqual([])
    expect(namesIn(`${store}/objects`).flatMap((prefix) => namesIn(`${store}/objects/${prefix}`))).toEqual([])
    expect(this.#driverFiles()).toEqual(this.#drivers)
  }

  checkNothingLeftOfBundles(): void {
    // A record that waits in the trash is clean's.
    expect({ ...this.place.contents(), trash: [] }).toEqual(EMPTY)
    expect(mountsBelow(this.place.store)).toEqual([])
  }

  /** No quota group of a btrfs is left but that of its top, once the kernel has done away with what was removed. */
  async checkNoGroups(): Promise<void> {
    if (this.driver !== 'btrfs') return
    const { directory, store } = this.place
    await this.checkClean()
    // Now that nothing has bytes of what was removed before, the next clean can see to the last groups.
    execFileSync('btrfs', ['subvolume', 'sync', directory])
    await this.checkClean()
    expect(namesIn(`${store}/drivers/btrfs/dropped`)).toEqual([])
    const shown = execFileSync('btrfs', ['qgroup', 'show', '--raw', directory], { encoding: 'utf8' })
    const groups = [...shown.matchAll(/^([0-9]+\/[0-9]+) /gm)].map(([, id]) => id)
    expect(groups.filter((id) => id !== '0/5')).toEqual([])
  }

  /** Every digest is what it should be. */
  async checkContents(): Promise<void> {
    expect((await this.store.check()).problems).toEqual([])
  }

  #driverFiles(): string {
    // Notes of groups that the kernel may still need: see checkNoGroups.
    const words = ['.', '-not', '-path', './btrfs/dropped/*', '-printf', '%p %y\n']
    return execFileSync('find', words, {
      cwd: `${this.place.store}/drivers`,
      encoding: 'utf8',
    })
      .split('\n')
      .sort()
      .join('\n')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.store?.close()
    this.place.remove()
  }
}

export function mountsBelow(directory: string): string[] {
  return parseMountPoints(readFileSync('/proc/self/mountinfo', 'latin1')).filter((at) =>
    at.startsWith(`${directory}/`),
  )
}

function loopDevices(directory: string): string[] {
  const found: string[] = []
  for (const name of namesIn('/sys/block')) {
    const path = `/sys/block/${name}/loop/backing_file`
    if (!name.startsWith('loop') || !existsSync(path)) continue
    const file = readFileSync(path, 'utf8').trim()
    if (file.startsWith(`${directory}/`)) found.push(file)
  }
  return found
}

function temporaries(store: string): string[] {
  // Bundles are left out: what is in a rootfs is the image's.
  const words = [store, '-path', `${store}/bundles`, '-prune', '-o', '-name', '.tmp-*', '-print']
  return execFileSync('find', words, { encoding: 'utf8' })
    .split('\n')
    .filter((line) => line !== '')
}

function namesIn(directory: string): string[] {
  return existsSync(directory) ? readdirSync(directory).sort() : []
}
