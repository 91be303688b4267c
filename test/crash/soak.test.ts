/**
 * Soak: many processes create, delete, clean, check and look at bundles of random images over one store, for minutes. No
 * error but those that two who want the same may get, exact trees, and in the end nothing is left: no files, no mounts, no
 * memory, no descriptors.
 */
import { readdirSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { treeLines } from '../../lib/testkit/tree-lines.js'
import { onFilesystemOf } from '../support/btrfs.js'
import { DRIVERS } from '../support/mounts.js'
import { Actor } from './actor.js'
import { Chance, chooseSeed, crashLayer, IS_LONG, Scene } from './scene.js'

const MINUTES = Number(process.env.GROOT_SOAK_MINUTES ?? (IS_LONG ? 5 : 0.1))
const PROCESSES = IS_LONG ? 16 : 4
const IMAGES = 6
const IDS = 24
const FEW_DESCRIPTORS = 8 // of a thread that ends or begins
const MAX_GROWTH_BYTES = 80 * 1024 ** 2
const SEED = chooseSeed()

/** What two get who want the same thing at once, or one of them no longer. */
const EXPECTED: Readonly<Record<string, readonly string[]>> = {
  create: ['bundle-exists'],
  stats: ['bundle-missing'],
}

describe.each(DRIVERS)('many processes over one store, with the driver %s', (driver) => {
  onFilesystemOf(driver)
  it('leave whole bundles, exact trees and nothing else', async () => {
    await using scene = await Scene.open(driver)
    const soak = new Soak(scene, driver)
    await soak.run((MINUTES * 60_000) / DRIVERS.length)
    console.log(`${driver}: seed ${SEED}, ${soak.told()}`)
    for (const { id } of await scene.store.list()) await scene.store.delete(id)
    await scene.checkContents()
    await scene.checkClean()
  }, 3_600_000)
})

class Soak {
  readonly #scene: Scene
  readonly #driver: string
  readonly #counts = new Map<string, number>()
  readonly #images: readonly string[]
  readonly #models: string[][] = []
  #growth = 0

  constructor(scene: Scene, driver: string) {
    this.#scene = scene
    this.#driver = driver
    this.#images = Array.from({ length: IMAGES }, (_, i) =>
      scene.place.image([crashLayer(i % 3, 20, 2000), crashLayer(i, 10, 30_000)]),
    )
  }

  async run(forMs: number): Promise<void> {
    for (const image of this.#images) {
      const { rootfs } = await this.#scene.store.create(this.#scene.request('model', image))
      this.#models.push(treeLines(rootfs))
      await this.#scene.store.delete('model')
    }
    const until = performance.now() + forMs
    const workers = await Promise.allSettled(
      Array.from({ length: PROCESSES }, (_, i) => this.#worker(i, until)),
    )
    for (const worker of workers) if (worker.status === 'rejected') throw worker.reason
  }

  told(): string {
    const counts = [...this.#counts].sort().map(([what, count]) => `${count} ${what}`)
    return `${PROCESSES} processes: ${counts.join(', ')}; grew by ${(this.#growth / 1024 ** 2).toFixed(0)} MiB at most`
  }

  async #worker(number: number, until: number): Promise<void> {
    const chance = new Chance(SEED + number)
    const actor = await Actor.start(this.#scene.place.store, this.#driver)
    try {
      await actor.must('open')
      // What is loaded once, and pools that fill, are no leak.
      for (let i = 0; i < 12; i++) await this.#step(actor, number, chance, i)
      const before = await this.#uses(actor)
      while (performance.now() < until) await this.#step(actor, number, chance, chance.pick(24))
      const after = await this.#usesInTheEnd(actor, before.descriptors + FEW_DESCRIPTORS)
      expect(after.descriptors - before.descriptors, 'open descriptors').toBeLessThan(FEW_DESCRIPTORS)
      this.#growth = Math.max(this.#growth, after.bytes - before.bytes)
      expect(after.bytes - before.bytes, 'memory').toBeLessThan(MAX_GROWTH_BYTES)
      await actor.end()
    } finally {
      await actor.kill()
    }
  }

  /** Threads that were told to end do so when the machine lets them. */
  async #usesInTheEnd(actor: Actor, descriptors: number): Promise<{ descriptors: number; bytes: number }> {
    const until = performance.now() + 10_000
    for (;;) {
      const uses = await this.#uses(actor)
      if (uses.descriptors < descriptors || performance.now() > until) return uses
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
  }

  async #uses(actor: Actor): Promise<{ descriptors: number; bytes: number }> {
    const bytes = (await actor.must('memory')) as number
    return { descriptors: readdirSync(`/proc/${actor.pid}/fd`).length, bytes }
  }

  async #step(actor: Actor, number: number, chance: Chance, kind: number): Promise<void> {
    const shared = `s${chance.pick(IDS)}`
    const image = chance.pick(IMAGES)
    const request = (id: string) => this.#scene.request(id, this.#images[image])
    if (kind < 8) await this.#call(actor, 'create', request(shared))
    else if (kind < 15) await this.#call(actor, 'delete', shared)
    else if (kind < 18) await this.#own(actor, `own${number}`, image)
    else if (kind < 20) await this.#call(actor, 'stats', shared)
    else if (kind < 21) await this.#call(actor, 'list')
    else if (kind < 22) await this.#check(actor)
    else await this.#clean(actor, chance)
  }

  /** A bundle that nobody else touches: its tree is exact as long as it is there. */
  async #own(actor: Actor, id: string, image: number): Promise<void> {
    await this.#call(actor, 'create', this.#scene.request(id, this.#images[image]))
    expect(treeLines(`${this.#scene.place.store}/bundles/${id}/rootfs`)).toEqual(this.#models[image])
    await this.#call(actor, 'delete', id)
  }

  async #check(actor: Actor): Promise<void> {
    expect(await this.#call(actor, 'check', {})).toMatchObject({ problems: [] })
  }

  async #clean(actor: Actor, chance: Chance): Promise<void> {
    const thresholdBytes = chance.pick(3) === 0 ? 0 : 2_000_000
    expect(await this.#call(actor, 'clean', { thresholdBytes })).toMatchObject({ skipped: [] })
  }

  async #call(actor: Actor, verb: string, ...args: readonly unknown[]): Promise<unknown> {
    const answer = await actor.call(verb, ...args)
    if (answer.kind === 'ok') {
      this.#count(verb)
      return answer.value
    }
    const code = answer.kind === 'failed' ? answer.error.code : 'died'
    if (!EXPECTED[verb]?.includes(code))
      throw new Error(`${verb} ${JSON.stringify(args)}: ${JSON.stringify(answer)}`)
    this.#count(`${verb} with ${code}`)
    return null
  }

  #count(what: string): void {
    this.#counts.set(what, (this.#counts.get(what) ?? 0) + 1)
  }
}
