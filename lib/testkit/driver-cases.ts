/**
 * What every driver must do: cases for any test runner. Each throws an AssertionError when the driver does not.
 *
 * ```ts
 * for (const { title, run, skip } of driverCases({ module, place })) it.skipIf(skip !== null)(title, run)
 * ```
 */
import assert from 'node:assert/strict'
import {
  appendFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { byteString } from '../bytes.js'
import { TreeImage } from '../composefs/tree-image.js'
import { verityDigest } from '../composefs/verity.js'
import type { VerityDigest } from '../digest.js'
import type {
  BaseId,
  BundleId,
  Driver,
  DriverModule,
  RootfsPlace,
  RootfsSpec,
  RootfsUsage,
} from '../driver/contract.js'
import type { GrootEvent } from '../events.js'
import { removeTree } from '../linux/remove-tree.js'
import { type ObjectReader, objectReader } from '../store/objects.js'
import type { Tree } from '../tree/model.js'
import { linesOfTree } from './lines-of-tree.js'
import { LARGEST_DEVICE, sampleTree, smallTree } from './sample-tree.js'
import { treeLines } from './tree-lines.js'

export interface DriverCasesOptions {
  readonly module: DriverModule
  /** An existing directory on the filesystem that the driver is tested on; cases make and remove directories in it. */
  readonly place: string
  /** Raw options, as store.json would hold them. */
  readonly options?: unknown
  /** The largest numbers of a device that the filesystem can keep. Default: what Linux has. */
  readonly largestDevice?: { readonly major: number; readonly minor: number }
}

export interface DriverCase {
  readonly title: string
  /** Why the case cannot run here; null when it can. */
  readonly skip: string | null
  run(): Promise<void>
}

export function driverCases(options: DriverCasesOptions): DriverCase[] {
  const isRoot = process.geteuid?.() === 0
  const needsRoot = isRoot ? null : 'needs root'
  const make = (title: string, skip: string | null, test: (bench: Bench) => Promise<void>): DriverCase => ({
    title,
    skip,
    run: async () => {
      const bench = await Bench.open(options)
      try {
        await test(bench)
      } finally {
        await bench.close()
      }
    },
  })
  return [
    make('leaves nothing behind when it probes a place', null, probeLeavesNothing),
    make('makes a rootfs that is the tree, entry by entry', needsRoot, makesTheTree),
    make('makes a rootfs of a small tree for any user', null, makesSmallTree),
    make('makes an empty rootfs of an empty tree', null, makesEmptyTree),
    make('keeps bundles apart, and objects untouched by what is written in them', null, keepsBundlesApart),
    make('removes a bundle, and again, and one that never was', null, removesAgain),
    make(
      'removes what a rootfs was made to hold, and nothing that its links point to',
      null,
      removesNothingElse,
    ),
    make('counts what is written to a bundle', null, countsUsage),
    make('fails when an object is missing, and can remove what it had begun', null, failsWithoutObject),
    make('ends when it is aborted, and can remove what it had begun', null, endsWhenAborted),
    make('can be opened again and finds its bundles', null, opensAgain),
  ]
}

async function probeLeavesNothing(bench: Bench): Promise<void> {
  const before = readdirSync(bench.directory).sort()
  const probe = await bench.module.probe(
    { directory: bench.directory, effectiveUid: process.geteuid?.() ?? 0 },
    bench.driverOptions,
  )
  assert.equal(probe.usable, true)
  assert.deepEqual(readdirSync(bench.directory).sort(), before)
}

async function makesTheTree(bench: Bench): Promise<void> {
  await expectTree(
    bench,
    sampleTree((bytes) => bench.put(bytes), bench.largestDevice),
  )
}

async function makesSmallTree(bench: Bench): Promise<void> {
  await expectTree(
    bench,
    smallTree((bytes) => bench.put(bytes)),
  )
}

async function makesEmptyTree(bench: Bench): Promise<void> {
  const { root } = smallTree((bytes) => bench.put(bytes))
  await expectTree(bench, { root: { ...root, children: new Map() } })
}

async function expectTree(bench: Bench, tree: Tree): Promise<void> {
  const at = await bench.create('b1', tree)
  assert.deepEqual(treeLines(at), linesOfTree(tree, bench.objects))
}

async function keepsBundlesApart(bench: Bench): Promise<void> {
  const tree = smallTree((bytes) => bench.put(bytes))
  const first = await bench.create('b1', tree)
  const before = linesOfTree(tree, bench.objects)
  appendFileSync(`${first}/etc/large`, 'more')
  writeFileSync(`${first}/new`, 'new')
  const second = await bench.create('b2', tree)
  assert.deepEqual(treeLines(second), before)
  assert.equal(readFileSync(`${first}/new`, 'utf8'), 'new')
  assert.deepEqual(linesOfTree(tree, bench.objects), before)
}

async function removesAgain(bench: Bench): Promise<void> {
  const at = await bench.create(
    'b1',
    smallTree((bytes) => bench.put(bytes)),
  )
  const other = await bench.create(
    'b2',
    smallTree((bytes) => bench.put(bytes)),
  )
  await bench.remove('b1')
  assert.equal(existsSync(at), false)
  await bench.remove('b1')
  await bench.remove('never')
  assert.equal(existsSync(`${other}/etc`), true)
}

async function removesNothingElse(bench: Bench): Promise<void> {
  const outside = `${bench.directory}/outside`
  mkdirSync(outside)
  writeFileSync(`${outside}/kept`, 'kept')
  const tree = smallTree((bytes) => bench.put(bytes))
  const link = { ...tree.root, kind: 'symlink', target: byteString(outside) } as const
  const at = await bench.create('b1', {
    root: { ...tree.root, children: new Map([...tree.root.children, [byteString('way'), link]]) },
  })
  mkdirSync(`${at}/${'d'.repeat(200)}/${'e'.repeat(200)}`, { recursive: true })
  await bench.remove('b1')
  assert.equal(existsSync(at), false)
  assert.equal(readFileSync(`${outside}/kept`, 'utf8'), 'kept')
}

async function countsUsage(bench: Bench): Promise<void> {
  const at = await bench.create(
    'b1',
    smallTree((bytes) => bench.put(bytes)),
  )
  const before = await bench.usage('b1')
  writeFileSync(`${at}/written`, Buffer.alloc(1024 * 1024, 'x'))
  const after = await bench.usage('b1')
  assert.ok(before.totalBytes >= before.exclusiveBytes, 'exclusive bytes are part of the total')
  assert.ok(after.totalBytes - before.totalBytes >= 1024 * 1024, 'the total grows by what is written')
  assert.ok(after.exclusiveBytes - before.exclusiveBytes >= 1024 * 1024, 'so do the exclusive bytes')
}

async function failsWithoutObject(bench: Bench): Promise<void> {
  const tree = smallTree((bytes) => bench.put(bytes))
  const missing = 'ab'.repeat(32) as VerityDigest
  const file = {
    ...tree.root,
    kind: 'file',
    size: 100_000,
    content: { kind: 'object', digest: missing },
  } as const
  const broken = {
    root: { ...tree.root, children: new Map([...tree.root.children, [byteString('zz'), file]]) },
  }
  await assert.rejects(bench.create('b1', broken), { code: 'object-missing' })
  await bench.remove('b1')
  assert.equal(existsSync(bench.at('b1')), false)
}

async function endsWhenAborted(bench: Bench): Promise<void> {
  const signal = AbortSignal.abort()
  await assert.rejects(
    bench.create(
      'b1',
      smallTree((bytes) => bench.put(bytes)),
      { signal },
    ),
    { code: 'aborted' },
  )
  await bench.remove('b1')
  assert.equal(existsSync(bench.at('b1')), false)
}

async function opensAgain(bench: Bench): Promise<void> {
  const tree = smallTree((bytes) => bench.put(bytes))
  const at = await bench.create('b1', tree)
  await bench.reopen()
  assert.ok((await bench.usage('b1')).totalBytes > 0)
  await bench.remove('b1')
  assert.equal(existsSync(at), false)
}

/** A room with objects and one driver in it, as the core would give it. */
class Bench {
  readonly module: DriverModule
  readonly directory: string
  readonly driverOptions: unknown
  readonly largestDevice: { readonly major: number; readonly minor: number }
  readonly objects: ObjectReader
  readonly events: GrootEvent[] = []
  driver!: Driver
  readonly #bundles = new Set<string>()
  readonly #bases: BaseId[] = []
  readonly #baseOf = new Map<string, BaseId>()
  readonly #digestOf = new Map<string, VerityDigest>()
  #baseCount = 0

  private constructor(options: DriverCasesOptions) {
    this.module = options.module
    this.driverOptions = options.module.parseOptions(options.options ?? null)
    this.largestDevice = options.largestDevice ?? LARGEST_DEVICE
    this.directory = mkdtempSync(`${options.place}/groot-driver-`)
    this.objects = objectReader(`${this.directory}/objects`)
    for (const name of ['objects', 'drivers', 'bundles', `drivers/${options.module.name}`])
      mkdirSync(`${this.directory}/${name}`)
  }

  static async open(options: DriverCasesOptions): Promise<Bench> {
    const bench = new Bench(options)
    await bench.reopen()
    return bench
  }

  async reopen(): Promise<void> {
    const room = {
      directory: `${this.directory}/drivers/${this.module.name}`,
      objects: this.objects,
      events: (event: GrootEvent) => void this.events.push(event),
    }
    this.driver = await this.module.open(room, this.driverOptions)
  }

  /** Stores a content as an object. */
  put(bytes: Uint8Array): VerityDigest {
    const digest = verityDigest(bytes)
    mkdirSync(`${this.objects.directory}/${digest.slice(0, 2)}`, { recursive: true })
    if (!existsSync(this.objects.path(digest)))
      writeFileSync(this.objects.path(digest), bytes, { mode: 0o444 })
    assert.equal(statSync(this.objects.path(digest)).size, bytes.length)
    return digest
  }

  at(id: string): string {
    return `${this.directory}/bundles/${id}/rootfs`
  }

  async create(id: string, tree: Tree, change: Partial<RootfsSpec> = {}): Promise<string> {
    this.#bundles.add(id)
    mkdirSync(`${this.directory}/bundles/${id}`)
    const base = this.driver.traits.bases ? await this.#prepare(tree) : null
    if (base !== null) this.#baseOf.set(id, base)
    this.#digestOf.set(id, new TreeImage(tree).digest())
    const { mounts } = await this.driver.create({
      ...this.place(id),
      tree: async () => tree,
      objects: this.objects,
      ignoreOwnership: process.geteuid?.() !== 0,
      mountPoints: [],
      withoutMount: false,
      syncLater: () => {},
      events: (event) => void this.events.push(event),
      signal: new AbortController().signal,
      ...change,
    })
    assert.ok(lstatSync(this.at(id)).isDirectory())
    // Only who was told to mount nothing, and would, leaves mounts to others.
    assert.deepEqual(mounts, [])
    return this.at(id)
  }

  usage(id: string): Promise<RootfsUsage> {
    return this.driver.usage(this.place(id))
  }

  place(id: string): RootfsPlace {
    const base = this.#baseOf.get(id) ?? null
    const digest = this.#digestOf.get(id)!
    return {
      id: id as BundleId,
      at: this.at(id),
      base,
      digest,
      readOnly: false,
      verity: null,
      limit: null,
      noSync: false,
    }
  }

  async remove(id: string): Promise<void> {
    await this.driver.remove(id as BundleId, this.at(id))
  }

  async close(): Promise<void> {
    for (const id of this.#bundles) await this.remove(id)
    for (const id of this.#bases) await this.driver.removeBase(id)
    removeTree(this.directory)
  }

  async #prepare(tree: Tree): Promise<BaseId> {
    const id = `sha256-${String(++this.#baseCount).padStart(64, '0')}` as BaseId
    this.#bases.push(id)
    const image = new TreeImage(tree)
    const { signal } = new AbortController()
    await this.driver.prepare(
      { id, tree, image, objects: this.objects, areContentsSeen: false, near: null },
      signal,
    )
    return id
  }
}
