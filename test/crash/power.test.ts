/**
 * Power cuts: what the disk holds at a random moment during creates, deletes and cleans, and after them, is all that is left.
 * What was said to be done is done, nothing is half, and the store goes on without a hand.
 */
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { beforeAll, describe, expect, it } from 'vitest'
import { openStore } from '../../lib/index.js'
import { treeLines } from '../../lib/testkit/tree-lines.js'
import { Place } from '../lib/operations/testing.js'
import { DRIVERS, removeScratch } from '../support/mounts.js'
import { Actor } from './actor.js'
import { Disk, FILESYSTEMS, type Filesystem, whyNoDisk } from './disk.js'
import { Chance, chooseSeed, crashLayer, IS_LONG } from './scene.js'

/** For each filesystem and driver. */
const CUTS = IS_LONG ? 18 : 2
const SEED = chooseSeed()

beforeAll(() => console.log(`seed ${SEED} (GROOT_CRASH_SEED repeats it)`))

const places = FILESYSTEMS.map((filesystem) => {
  const whyNot = whyNoDisk(filesystem)
  return { filesystem, whyNot, title: whyNot === null ? filesystem : `${filesystem} (${whyNot})` }
})

describe.each(places)('power cuts on $title', ({ filesystem, whyNot }) => {
  it.skipIf(whyNot !== null).each(DRIVERS.filter((name) => name !== 'btrfs' || filesystem === 'btrfs'))(
    'lose nothing that was done, with the driver %s',
    async (driver) => {
      const run = new Run(filesystem, driver)
      try {
        for (let i = 0; i < CUTS; i++) await run.round()
      } finally {
        run.end()
      }
      console.log(
        `${filesystem} ${driver}: ${CUTS} cuts, ${run.done} calls done before them and kept, ${run.open} cut in the middle; 0 damaged, 0 lost`,
      )
    },
    3_600_000,
  )
})

type Step = readonly [verb: 'create' | 'delete' | 'clean', id: string, image: number]

/** What is done between two cuts; each round has bundles of its own. */
function script(round: number): Step[] {
  const id = (name: string) => `${name}${round}`
  return [
    ['create', id('a'), 0],
    ['create', id('b'), 0],
    ['create', id('c'), 1],
    ['delete', id('a'), 0],
    ['clean', '', 0],
    ['create', id('d'), 0],
    ['delete', id('c'), 1],
    ['clean', '', 0],
    ['create', id('e'), 1],
  ]
}

class Run {
  done = 0
  open = 0
  readonly #driver: string
  readonly #directory = mkdtempSync(join(tmpdir(), 'groot-power-'))
  readonly #place = new Place()
  readonly #disk: Disk
  readonly #chance = new Chance(SEED)
  readonly #images: readonly string[]
  readonly #models: string[][] = []
  #round = 0
  #stepMs = 100

  constructor(filesystem: Filesystem, driver: string) {
    this.#driver = driver
    this.#disk = new Disk(this.#directory, filesystem)
    this.#images = [
      this.#place.image([crashLayer(0, 24, 3000), crashLayer(1, 12, 90_000)]),
      this.#place.image([crashLayer(2, 20, 2000), crashLayer(0, 24, 3000)]),
    ]
  }

  get #store(): string {
    return `${this.#disk.at}/store`
  }

  async round(): Promise<void> {
    if (this.#models.length === 0) await this.#begin()
    const round = ++this.#round
    const actor = await Actor.start(this.#store, this.#driver)
    await actor.must('open')
    const state = { present: new Map<string, number>(), gone: new Set<string>(), now: '' }
    let isCut = false
    const steps = script(round)
    // After as many steps, and somewhere within the next; the last two are when all is done.
    const moment = this.#chance.next() * (steps.length + 2)
    let working: Promise<void> | undefined
    await new Promise<void>((resolve) => {
      working = this.#work(actor, steps, state, (done) => {
        if (done >= Math.min(Math.floor(moment), steps.length)) resolve()
        return isCut
      })
    })
    await setTimeout((moment % 1) * this.#stepMs)
    // From here to the end of the copy no answer is heard: what was told before must be on the disk.
    this.#disk.cut()
    const told = { present: new Map(state.present), gone: new Set(state.gone), now: state.now }
    isCut = true
    await actor.kill()
    await working
    this.done += told.present.size + told.gone.size
    if (told.now !== '') this.open++
    this.#disk.restart()
    await this.#verify(told)
  }

  async #begin(): Promise<void> {
    await using store = await openStore({ path: this.#store, driver: this.#driver, thread: 'caller' })
    for (const [i, image] of this.#images.entries()) {
      this.#models.push(treeLines((await store.create({ image, id: `model${i}` })).rootfs))
      await store.delete(`model${i}`)
    }
    await store.clean()
  }

  async #work(
    actor: Actor,
    steps: readonly Step[],
    state: { readonly present: Map<string, number>; readonly gone: Set<string>; now: string },
    isCut: (done: number) => boolean,
  ): Promise<void> {
    let done = 0
    isCut(done)
    for (const [verb, id, image] of steps) {
      state.now = id
      const begin = performance.now()
      if (verb === 'delete') state.present.delete(id)
      const answer = await actor.call(
        verb,
        verb === 'create' ? { image: this.#images[image], id } : verb === 'delete' ? id : {},
      )
      if (isCut(done)) return
      if (answer.kind !== 'ok') throw new Error(`${verb} ${id}: ${JSON.stringify(answer)}`)
      if (verb === 'create') state.present.set(id, image)
      if (verb === 'delete') state.gone.add(id)
      state.now = ''
      this.#stepMs = performance.now() - begin
      isCut(++done)
    }
  }

  async #verify(told: {
    readonly present: ReadonlyMap<string, number>
    readonly gone: ReadonlySet<string>
    readonly now: string
  }): Promise<void> {
    await using store = await openStore({ path: this.#store, driver: this.#driver, thread: 'caller' })
    const listed = await store.list()
    const ids = new Set(listed.map(({ id }) => id))
    for (const id of told.present.keys()) expect(ids, `${id} was made`).toContain(id)
    for (const id of told.gone) expect(ids, `${id} was deleted`).not.toContain(id)
    for (const { id, rootfs } of listed) {
      expect([...told.present.keys(), told.now]).toContain(id)
      await store.mount(id)
      expect(treeLines(rootfs), id).toEqual(this.#models[/^[ce]/.test(id) ? 1 : 0])
    }
    const { problems } = await store.check()
    // A bundle that was being made or deleted is no damage: clean knows it.
    expect(problems.filter(({ code }) => code !== 'bundle-orphan')).toEqual([])
    for (const [i, image] of this.#images.entries()) {
      const { rootfs } = await store.create({ image, id: `again${i}` })
      expect(treeLines(rootfs)).toEqual(this.#models[i])
    }
    for (const { id } of await store.list()) await store.delete(id)
    expect(await store.clean()).toMatchObject({ skipped: [], complete: true })
    expect((await store.check()).problems).toEqual([])
    expect(await store.clean()).toMatchObject({ removed: [], objects: 0 })
  }

  end(): void {
    this.#disk[Symbol.dispose]()
    this.#place.remove()
    removeScratch(this.#directory)
  }
}
