/**
 * One store for many checks: made by the first that wants it, with fs-verity required, and the image of the checks in it.
 */
import { closeSync, openSync, readdirSync, readFileSync } from 'node:fs'
import { verityDigest } from '../../../lib/composefs/verity.js'
import type { BundleInfo, CreateRequest, GrootStore } from '../../../lib/index.js'
import { measureVerity } from '../../../lib/linux/verity.js'
import { objectName } from '../../../lib/store/objects.js'
import type { Check, Guest } from './check.js'
import { contentOf, type FileName, imageNamed, storeIn } from './sample.js'

export const SEALED = imageNamed('sealed')

/** Opened by the first check that wants it, closed with the process. */
let shared: Promise<GrootStore> | undefined

/** A check of that store. */
export function inStore(use: (store: GrootStore, guest: Guest) => void | Promise<void>): Check {
  return async (guest) => {
    shared ??= openShared(guest)
    await use(await shared, guest)
  }
}

async function openShared({ data }: Guest): Promise<GrootStore> {
  const store = await storeIn(data, 'overlay', { verity: 'require' })
  // The image is known from here on, its objects are where the checks look for them.
  await withBundle(store, {}, () => {})
  return store
}

let bundles = 0

/** While there is a bundle of the image, which nobody else uses. */
export async function withBundle(
  store: GrootStore,
  request: Omit<CreateRequest, 'image' | 'id'>,
  use: (bundle: BundleInfo) => void | Promise<void>,
): Promise<void> {
  const bundle = await store.create({ image: SEALED, id: `bundle-${++bundles}`, ...request })
  try {
    await use(bundle)
  } finally {
    await store.delete(bundle.id)
  }
}

export function fileOf({ rootfs }: BundleInfo, name: FileName): string {
  return `${rootfs}/files/${name}`
}

export function objectOf(store: GrootStore, name: FileName): string {
  return `${store.path}/objects/${objectName(verityDigest(Buffer.from(contentOf(name))))}`
}

/** All there are, as `ab/cdef…`. */
export function objectsOf(store: GrootStore): string[] {
  const objects = `${store.path}/objects`
  return readdirSync(objects).flatMap((prefix) =>
    readdirSync(`${objects}/${prefix}`).map((name) => `${prefix}/${name}`),
  )
}

/** The image file with a digest, among those of the driver. */
export function imageOf(store: GrootStore, digest: string): string {
  const bases = `${store.path}/drivers/overlay/bases`
  const images = readdirSync(bases).map((base) => `${bases}/${base}/image`)
  const found = images.find((path) => verityDigest(readFileSync(path)) === digest)
  if (found === undefined) throw new Error(`No base of the driver has the digest ${digest}`)
  return found
}

/** The fs-verity digest that the kernel measures; null where there is none. */
export function measured(path: string): string | null {
  const fd = openSync(path, 'r')
  try {
    return measureVerity(fd)?.digest ?? null
  } finally {
    closeSync(fd)
  }
}
