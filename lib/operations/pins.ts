/**
 * pin and unpin: images that clean leaves alone.
 */
import { NotFoundError } from '../errors.js'
import { runInSlices } from '../linux/slices.js'
import { type CachedImage, readImageCache } from '../store/cached-images.js'
import { checkWritable } from '../store/descriptor.js'
import { namesFor, namesOfImage, type PinnedImage, pinFile, removePin, writePin } from '../store/pins.js'
import { statOf } from '../store/record-watch.js'
import type { CallOptions, PinResult } from './api.js'
import { lockRequest, signalOf } from './call.js'
import type { OpenedStore } from './opened-store.js'

/**
 * Pins an image that the store has. When this returns no clean takes anything of it away any more.
 *
 * @throws {NotFoundError} `image-missing`
 */
export async function pinImage(store: OpenedStore, text: string, options: CallOptions): Promise<PinResult> {
  const { layout } = store
  const names = namesOfImage(text)
  checkWritable(layout.descriptor, store.descriptor)
  const { images } = await runInSlices(readImageCache(layout), signalOf(options))
  const name = names.find((each) => images.some((image) => namesFor(image).includes(each)))
  const meant = images.filter((image) => name !== undefined && namesFor(image).includes(name))
  if (name === undefined) throw missing(text, names)
  const isPinned = statOf(`${layout.pins}/${pinFile(name)}`) !== null
  writePin(layout, { format: 1, image: name, pinnedAt: new Date().toISOString(), images: meant.map(pinned) })
  // From here on a clean sees the pin; what one before took away is seen here.
  await store.locks.passGc(lockRequest(options))
  if (meant.every(({ documents }) => documents.every(({ digest }) => statOf(layout.blob(digest)) !== null)))
    return { image: name, changed: !isPinned }
  if (!isPinned) removePin(layout, name)
  throw missing(text, names)
}

function pinned({ documents, layers }: CachedImage): PinnedImage {
  return { documents: documents.map(({ digest }) => digest), layers }
}

/** What is not pinned is no error. The image need not be there any more. */
export async function unpinImage(store: OpenedStore, text: string): Promise<PinResult> {
  const { layout } = store
  const names = namesOfImage(text)
  checkWritable(layout.descriptor, store.descriptor)
  const removed = names.filter((name) => removePin(layout, name))
  return { image: removed[0] ?? names[0]!, changed: removed.length > 0 }
}

function missing(text: string, names: readonly string[]): NotFoundError {
  return new NotFoundError('image-missing', `Cannot pin image "${text}": the store does not have it`, {
    facts: { image: text, names },
  })
}
