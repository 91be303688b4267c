/**
 * What an open store remembers of its last calls, so that a create of an image that it has just seen reads and parses
 * nothing again.
 *
 * Only what cannot change is kept: documents by their digest. What can change, the set of layers that the store has, is
 * believed for as long as the directory that shows it has not changed.
 */
import { statSync } from 'node:fs'
import type { Digest } from '../digest.js'
import { isErrno } from '../errors.js'
import { type Platform, platformDistance } from '../image/platform.js'
import type { ResolvedImage } from '../sources/source.js'
import type { StoreLayout } from './layout.js'

const MAX_IMAGES = 32
const MAX_DOCUMENT_BYTES = 256 * 1024 // of each; larger ones are rare, and reading them is not what a create waits for

/** Images that were verified and parsed, by digest of the manifest; the least recently used goes first. */
export class RecentImages {
  readonly #images = new Map<Digest, ResolvedImage>()

  /** @param size of the manifest, as its descriptor has it */
  get(digest: Digest, size: number, platform: Platform): ResolvedImage | null {
    const image = this.#images.get(digest)
    if (image === undefined || image.manifestBytes.length !== size) return null
    const { os, architecture, variant } = image.config
    const made = { os, architecture, ...(variant === undefined ? {} : { variant }) }
    if (platformDistance(platform, made) === null) return null
    this.put(image)
    return image
  }

  put(image: ResolvedImage): void {
    this.#images.delete(image.digest)
    if (Math.max(image.manifestBytes.length, image.configBytes.length) > MAX_DOCUMENT_BYTES) return
    this.#images.set(image.digest, image)
    for (const [oldest] of this.#images) {
      if (this.#images.size <= MAX_IMAGES) return
      this.#images.delete(oldest)
    }
  }
}

const SETTLED_MS = 1000 // changes within one tick of the clock leave a directory's time as it was
const MAX_SETS = 256

/** Sets of layers that the store was seen to have, for as long as no layer record has come or gone. */
export class RecentLayers {
  readonly #directory: string
  readonly #complete = new Set<string>()
  /** Of the directory of layer records, when the sets were seen. */
  #state: string | null = null

  constructor({ layers }: Pick<StoreLayout, 'layers'>) {
    this.#directory = layers
  }

  /**
   * Makes sure of a set of layers, unless that was done and nothing has changed since.
   *
   * @param name of the set
   */
  async ensure(name: string, ensure: () => Promise<void>): Promise<void> {
    const state = this.#look()
    if (state !== null && state === this.#state && this.#complete.has(name)) return
    await ensure()
    if (state === null) return
    // A layer that was brought in meanwhile has changed the directory, and the set counts for nothing.
    if (state !== this.#state || this.#complete.size >= MAX_SETS) this.#complete.clear()
    this.#state = state
    this.#complete.add(name)
  }

  #look(): string | null {
    try {
      const { dev, ino, mtimeNs, ctimeNs, mtimeMs } = statSync(this.#directory, { bigint: true })
      const age = Date.now() - Number(mtimeMs)
      return age < SETTLED_MS ? null : `${dev}:${ino}:${mtimeNs}:${ctimeNs}`
    } catch (error) {
      if (isErrno(error)) return null
      throw error
    }
  }
}
