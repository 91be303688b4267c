/**
 * clean among real processes: killed at any moment, and beside creates and deletes. They run what `npm run build` made.
 */
import { spawn } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type GrootStore, openStore } from '../../lib/index.js'
import { type LayerBuilder, layer } from '../../lib/testkit/layer.js'
import { treeLines } from '../../lib/testkit/tree-lines.js'
import { AS_ROOT, EMPTY, Place } from '../lib/operations/testing.js'

const COMMAND = fileURLToPath(new URL('../../dist/cli/main.cjs', import.meta.url))
const KILLS = 40
const owner = AS_ROOT ? [] : ['--ignore-ownership']

let place: Place
let store: GrootStore
beforeEach(async () => {
  place = new Place()
  store = await openStore({ path: place.store, driver: 'vfs', thread: 'caller' })
})
afterEach(async () => {
  await store.close()
  place.remove()
})

/** Files whose contents other layers have too, so that what one gives up another may want. */
function files(seed: number, count: number): LayerBuilder {
  const made = layer()
  for (let i = 0; i < count; i++) made.file(`d${i % 7}/f${i}`, Buffer.alloc(500 + i, `content ${seed + i} `))
  return made
}

interface Ended {
  readonly status: number | null
  readonly signal: string | null
  readonly stdout: string
}

async function groot(words: readonly string[], killAfterMs?: number): Promise<Ended> {
  const argv = [COMMAND, '--store', place.store, ...words]
  const child = spawn(process.execPath, argv, { stdio: ['ignore', 'pipe', 'inherit'] })
  const timer = killAfterMs === undefined ? undefined : setTimeout(() => child.kill('SIGKILL'), killAfterMs)
  let stdout = ''
  child.stdout.on('data', (bytes: Buffer) => {
    stdout += bytes.toString()
  })
  const [status, signal] = await new Promise<[number | null, string | null]>((resolve) =>
    child.on('close', (...ending) => resolve(ending)),
  )
  clearTimeout(timer)
  return { status, signal, stdout }
}

const objects = () =>
  readdirSync(`${place.store}/objects`).flatMap((prefix) => readdirSync(`${place.store}/objects/${prefix}`))

describe('a clean that is killed at any moment', () => {
  it('harms nothing that is used, and the next clean finishes its work', async () => {
    const kept = place.image([files(0, 150), files(300, 50)])
    const { rootfs } = await store.create(place.request({ image: kept, id: 'kept' }))
    const model = treeLines(rootfs)
    const used = objects().sort()
    const others = [1, 2, 3].map((i) => place.image([files(i * 100, 150)]))
    let kills = 0
    for (let i = 0; i < KILLS; i++) {
      for (const [j, image] of others.entries()) {
        if ((i + j) % 2 === 0) continue
        await store.create(place.request({ image, id: 'once' }))
        await store.delete('once')
      }
      // Most of the time goes into starting node; a few are killed there, a few end before.
      if ((await groot(['clean'], 80 + Math.random() * 400)).signal === 'SIGKILL') kills++
      expect((await store.list()).map(({ id }) => id)).toEqual(['kept'])
      if (i % 4 !== 0) continue
      expect((await store.check()).problems).toEqual([])
      expect(treeLines(rootfs)).toEqual(model)
      // A create after a kill finds whole layers only.
      const again = await store.create(place.request({ image: kept, id: 'again' }))
      expect(treeLines(again.rootfs)).toEqual(model)
      await store.delete('again')
    }
    expect(await store.clean()).toMatchObject({ skipped: [], complete: true })
    expect(objects().sort()).toEqual(used)
    expect(place.contents()).toEqual({ ...EMPTY, bundles: ['kept'], records: ['kept.json'] })
    expect(readdirSync(`${place.store}/gc/publishing`)).toEqual([])
    expect(await store.clean()).toMatchObject({ removed: [], objects: 0, freedBytes: 0 })
    expect(kills).toBeGreaterThan(KILLS / 4)
  }, 400_000)
})

describe('creates, deletes and cleans of many processes', () => {
  it('all succeed, and what they leave is whole', async () => {
    const images = [0, 1, 2].map((i) => place.image([files(i * 40, 60), files(500 + i * 10, 30)]))
    const models = new Map<string, string[]>()
    for (const [i, image] of images.entries()) {
      const { rootfs } = await store.create(place.request({ image, id: `model${i}` }))
      models.set(image, treeLines(rootfs))
      await store.delete(`model${i}`)
    }
    const creator = async (name: string) => {
      for (let round = 0; round < 6; round++) {
        const image = images[(round + name.charCodeAt(0)) % images.length] as string
        const created = await groot(['create', ...owner, image, `${name}${round}`])
        expect(created.status).toBe(0)
        expect(treeLines(`${created.stdout.trim()}/rootfs`)).toEqual(models.get(image))
        expect((await groot(['delete', '--must-exist', `${name}${round}`])).status).toBe(0)
      }
    }
    let isDone = false
    const cleaner = async () => {
      let objectsRemoved = 0
      while (!isDone) {
        const { status, stdout } = await groot(['clean', '--json'])
        expect(status).toBe(0)
        const report = JSON.parse(stdout)
        expect(report).toMatchObject({ skipped: [], complete: true })
        objectsRemoved += report.objects
      }
      return objectsRemoved
    }
    const cleaners = [cleaner(), cleaner()]
    await Promise.all(['a', 'b'].map(creator)).finally(() => {
      isDone = true
    })
    const removed = await Promise.all(cleaners)
    expect(removed[0]! + removed[1]!).toBeGreaterThan(0)
    expect((await store.check()).problems).toEqual([])
    await store.clean()
    expect(objects()).toEqual([])
    expect(place.contents()).toEqual(EMPTY)
  }, 300_000)
})
