/**
 * What frees a disk that is full: of inodes, of bytes, or of both.
 */
import { execFileSync } from 'node:child_process'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmdirSync,
  rmSync,
  statfsSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { deleteStore, type GrootStore, initStore, isErrno, openStore } from '../../../lib/index.js'
import { layer } from '../../../lib/testkit/layer.js'
import { titled } from '../../images/tools.js'
import { rejectionOf } from '../linux/scratch.js'
import { Place } from './testing.js'

const why = process.geteuid?.() === 0 ? null : 'needs root'

let place: Place
let disk: string
let path: string
beforeEach(() => {
  place = new Place()
  disk = mkdtempSync(join(tmpdir(), 'groot-full-'))
  path = `${disk}/store`
})
afterEach(() => {
  execFileSync('umount', ['--lazy', disk])
  rmdirSync(disk)
  place.remove()
})

/** A filesystem in memory with 2,000 inodes and 16 MiB. */
function mountDisk(): void {
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=16m,nr_inodes=2000,mode=755', 'tmpfs', disk])
}

/** Makes files until there is no inode, and then one of all bytes that are left. */
function fill(): void {
  mkdirSync(`${disk}/filler`)
  const made = `${disk}/filler/bytes`
  writeFileSync(made, '')
  untilFull((i) => writeFileSync(`${disk}/filler/${i}`, ''))
  untilFull(() => writeFileSync(made, Buffer.alloc(4096), { flag: 'a' }))
  const { ffree, bavail } = statfsSync(disk)
  expect([ffree, bavail]).toEqual([0, 0])
}

function untilFull(step: (i: number) => void): void {
  for (let i = 0; ; i++) {
    try {
      step(i)
    } catch (error) {
      if (isErrno(error, 'ENOSPC')) return
      throw error
    }
  }
}

async function filledStore(): Promise<GrootStore> {
  mountDisk()
  await initStore({ path, driver: 'vfs' })
  const store = await openStore({ path, driver: 'vfs' })
  const one = layer()
  for (let i = 0; i < 100; i++) one.file(`f${i}`, `content ${i}\n`.repeat(200))
  const image = place.image([one])
  for (const id of ['kept', 'gone']) await store.create({ image, id })
  fill()
  return store
}

const spares = () => readdirSync(`${path}/spares`).sort()
const SPARES = ['0', '1', '2', '3']

describe.skipIf(why !== null)(titled('on a full disk', why), () => {
  it('delete works, and leaves what the next one needs', async () => {
    await using store = await filledStore()
    const error = await rejectionOf(store.create(place.request({ id: 'more' })))
    expect(error).toMatchObject({ code: 'disk-full', facts: { path: expect.stringMatching(`^${path}`) } })
    expect(error.message).toContain(path)
    expect(await store.delete('gone')).toEqual({ id: 'gone', existed: true })
    expect(spares()).toEqual(SPARES)
    rmSync(`${disk}/filler`, { recursive: true })
    expect((await store.list()).map(({ id }) => id)).toEqual(['kept'])
    expect((await store.check()).problems).toEqual([])
    expect(await store.create(place.request({ id: 'more' }))).toMatchObject({ id: 'more' })
  })

  it('clean and rmi work', async () => {
    await using store = await filledStore()
    const [image] = await store.images()
    for (const id of ['kept', 'gone']) await store.delete(id)
    untilFull((i) => writeFileSync(`${disk}/filler/again-${i}`, ''))
    expect(await store.removeImages({ images: [image!.digest] })).toMatchObject({ skipped: [] })
    expect(await store.clean()).toMatchObject({ skipped: [], complete: true })
    const objects = readdirSync(`${path}/objects`, { recursive: true }).filter((name) => name.includes('/'))
    expect([objects, spares()]).toEqual([[], SPARES])
  })

  it('the store can be deleted', async () => {
    await (await filledStore()).close()
    await deleteStore({ path, force: true })
    expect(readdirSync(disk)).toEqual(['filler'])
  })

  it('no filesystem is made, and nothing is left of it', async () => {
    mountDisk()
    fill()
    const request = {
      path: `${place.directory}/new`,
      filesystem: 'ext4',
      storeSizeBytes: 64 * 1024 ** 2,
    } as const
    writeFileSync(`${disk}/filler/0`, '')
    rmSync(`${disk}/filler/0`)
    const error = await rejectionOf(initStore({ ...request, backingFile: `${disk}/store.img` }))
    expect(error).toMatchObject({ code: 'disk-full', facts: { path: expect.stringContaining(disk) } })
    expect([existsSync(request.path), existsSync(`${disk}/store.img`)]).toEqual([false, false])
  })

  it('spares that were lost are made again by clean', async () => {
    await using store = await filledStore()
    rmSync(`${disk}/filler`, { recursive: true })
    for (const name of SPARES) rmSync(`${path}/spares/${name}`)
    await store.clean()
    expect(spares()).toEqual(SPARES)
  })
})
