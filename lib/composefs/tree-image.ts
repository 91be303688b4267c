/**
 * The composefs image of a tree: worked out when it is first asked for, its digest computed while it is written.
 */
import type { VerityDigest } from '../digest.js'
import { BugError } from '../errors.js'
import type { Tree } from '../tree/model.js'
import { type PlannedImage, planComposefs } from './erofs-write.js'
import { composefsFromTree } from './tree.js'
import { VerityHasher } from './verity.js'

export class TreeImage {
  readonly #tree: Tree
  #planned: PlannedImage | null = null
  #digest: VerityDigest | null = null

  constructor(tree: Tree) {
    this.#tree = tree
  }

  /**
   * The bytes of the image, piece by piece.
   *
   * @throws {ImageError} `composefs-refused` when no image can hold the tree
   */
  *chunks(): Generator<Uint8Array, void, undefined> {
    const hasher = new VerityHasher()
    for (const piece of this.#plan().chunks()) {
      if (this.#digest === null) hasher.update(piece)
      yield piece
    }
    this.#digest ??= hasher.digest()
  }

  /** The fs-verity digest of the image: free once the chunks were taken to their end. */
  digest(): VerityDigest {
    if (this.#digest === null) for (const _ of this.chunks());
    if (this.#digest === null) throw new BugError('Cannot tell the digest of an image that was not written')
    return this.#digest
  }

  /** Works the image out now. @throws {ImageError} as chunks do */
  plan(): void {
    this.#plan()
  }

  #plan(): PlannedImage {
    this.#planned ??= planComposefs(composefsFromTree(this.#tree))
    return this.#planned
  }
}
