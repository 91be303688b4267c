/**
 * Mounts of images, kept for a moment: who creates one bundle of an image often creates the next, and mounting an image
 * and letting go of it takes the kernel longer than the overlay over it.
 *
 * They have no place in the mount table. One that is kept holds its image's file, so none is kept for long.
 */
import { closeSync, fstatSync } from 'node:fs'
import type { BaseId } from '../../lib/driver/kit.js'

const IDLE_MS = 1000
const MAX_KEPT = 16

interface Kept {
  readonly mount: number
  readonly inode: bigint
  usedAt: number
}

export class ImageMounts implements Disposable {
  readonly #kept = new Map<BaseId, Kept>()
  #timer: NodeJS.Timeout | null = null

  /**
   * Hands out the mount of an image, made if it is not there.
   *
   * @param image descriptor of the image's file as it is now: a mount of another file is not used
   * @param use says whether the mount can serve again
   */
  with(id: BaseId, image: number, make: () => number, use: (mount: number) => boolean): void {
    const { ino } = fstatSync(image, { bigint: true })
    const known = this.#kept.get(id)
    if (known !== undefined && known.inode !== ino) this.drop(id)
    // Out of the map while it is used: whatever goes wrong, it is then closed once.
    const mount = this.#take(id) ?? make()
    let serves = false
    try {
      serves = use(mount)
    } finally {
      if (serves) this.#keep(id, { mount, inode: ino, usedAt: performance.now() })
      else closeSync(mount)
    }
  }

  drop(id: BaseId): void {
    const mount = this.#take(id)
    if (mount !== null) closeSync(mount)
  }

  [Symbol.dispose](): void {
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
    for (const id of [...this.#kept.keys()]) this.drop(id)
  }

  #take(id: BaseId): number | null {
    const kept = this.#kept.get(id)
    this.#kept.delete(id)
    return kept?.mount ?? null
  }

  #keep(id: BaseId, kept: Kept): void {
    this.#kept.set(id, kept)
    for (const oldest of this.#kept.keys()) {
      if (this.#kept.size <= MAX_KEPT) break
      this.drop(oldest)
    }
    this.#timer ??= setTimeout(() => this.#closeIdle(), IDLE_MS).unref()
  }

  #closeIdle(): void {
    this.#timer = null
    const idle = performance.now() - IDLE_MS
    for (const [id, { usedAt }] of [...this.#kept]) if (usedAt <= idle) this.drop(id)
    if (this.#kept.size > 0) this.#timer = setTimeout(() => this.#closeIdle(), IDLE_MS).unref()
  }
}
