import {
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type CreateRequest, type GrootStore, openStore } from '../../../lib/index.js'
import { isMountPoint } from '../../../lib/linux/mount-points.js'
import { AS_ROOT, Place } from '../../lib/operations/testing.js'

let place: Place
let store: GrootStore
let digest: string
let path: string
let request: CreateRequest

describe.skipIf(!AS_ROOT)('a base whose image is not the one that was made (needs root)', () => {
  beforeEach(async () => {
    place = new Place()
    await open()
    request = place.request({ image: place.image() })
    digest = (await store.create(request)).digest
    await store.unmount('b1')
    const bases = `${place.store}/drivers/overlay/bases`
    path = `${bases}/${readdirSync(bases)[0]}/image`
    // No mount of the image is kept.
    await reopen()
  })
  afterEach(async () => {
    await store.close()
    place.remove()
  })
  const open = async () => {
    store = await openStore({ path: place.store, driver: 'overlay', thread: 'caller' })
  }
  const reopen = async () => {
    await store.close()
    await open()
  }
  const expectRefused = async (made: Promise<unknown>) => {
    await expect(made).rejects.toMatchObject({
      code: 'base-damaged',
      exitStatus: 16,
      facts: { base: expect.stringMatching(/^sha256-/) },
      message: expect.stringMatching(/^Cannot use base "sha256-.*: .*; groot check --repair makes it again$/),
    })
  }
  const notes = () => path.replace(/image$/, 'base.json')

  it.each<[string, () => void]>([
    ['cut', () => truncateSync(path, 3000)],
    ['cut to nothing', () => truncateSync(path, 0)],
    ['longer', () => writeFileSync(path, Buffer.concat([readFileSync(path), Buffer.alloc(4096)]))],
    ['junk of its length', () => writeFileSync(path, Buffer.alloc(readFileSync(path).length, 'junk'))],
    ['gone', () => rmSync(path)],
    ['a symlink', () => swap(() => symlinkSync('/dev/null', path))],
    ['a directory', () => swap(() => mkdirSync(path))],
    ['noted as something else', () => writeFileSync(notes(), '{')],
  ])('is refused by create, mount and check, and mended: %s', async (_what, damage) => {
    damage()
    await reopen()
    for (const change of [{}, { readOnly: true }, { withoutMount: true }, { expectDigest: digest }])
      await expectRefused(store.create({ ...request, ...change, id: 'b2' }))
    expect(readdirSync(`${place.store}/bundles`)).toEqual(['b1'])
    await expectRefused(store.mount('b1'))
    expect(isMountPoint(`${place.store}/bundles/b1/rootfs`)).toBe(false)
    expect((await store.check()).problems).toMatchObject([{ code: 'base-damaged', what: 'base' }])
    await store.check({ repair: true })
    expect((await store.check()).problems).toEqual([])
    expect((await store.create({ ...request, id: 'b2', expectDigest: digest })).digest).toBe(digest)
    expect(await store.mount('b1')).toEqual({ id: 'b1', changed: true })
  })

  it('is refused where the kernel cannot mount it: its header is whole, its root is not', async () => {
    const bytes = readFileSync(path).fill(0xff, 1152, 1184)
    swap(() => writeFileSync(path, bytes))
    for (const readOnly of [false, true])
      await expectRefused(store.create({ ...request, readOnly, id: 'b2' }))
    await expectRefused(store.mount('b1'))
  })

  it.each(['try', 'off'] as const)(
    'is read to its end when its digest is demanded: verity %s',
    async (verity) => {
      const bytes = readFileSync(path)
      const at = bytes.indexOf('root:x:0')
      swap(() => writeFileSync(path, bytes.fill('X', at, at + 1)))
      for (const change of [{}, { readOnly: true }, { withoutMount: true }])
        await expectRefused(store.create({ ...request, ...change, verity, id: 'b2', expectDigest: digest }))
      expect(readdirSync(`${place.store}/bundles`)).toEqual(['b1'])
    },
  )

  it('is read to its end by each later mount of a bundle whose digest was demanded, and of no other', async () => {
    await store.create({ ...request, id: 'b2', expectDigest: digest })
    await store.unmount('b2')
    const bytes = readFileSync(path)
    const at = bytes.indexOf('root:x:0')
    swap(() => writeFileSync(path, Buffer.from(bytes).fill('X', at, at + 1)))
    await reopen()
    await expectRefused(store.mount('b2'))
    expect(await store.mount('b1')).toEqual({ id: 'b1', changed: true })
    await store.unmount('b1')
    swap(() => writeFileSync(path, bytes))
    await reopen()
    expect(await store.mount('b2')).toEqual({ id: 'b2', changed: true })
  })

  function swap(write: () => void): void {
    rmSync(path)
    write()
  }
})
