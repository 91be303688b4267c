/**
 * Overlays whose place was taken away and whose last mount is let go of a moment later.
 *
 * When the last mount of an overlay goes, the kernel first writes out the whole filesystem of its upper directory
 * (ovl_sync_fs), and whoever unmounts waits for it. A further mount without a place takes that out of the way: what the
 * container wrote is removed by then and need not be written, and nobody waits.
 */
import { close } from 'node:fs'
import { promisify } from 'node:util'
import { byteString, cloneMount, isErrno } from '../../lib/driver/kit.js'

const PAUSE_MS = 20 // so that what waits for the disk now comes first
const MAX_HELD = 64

const closeInBackground = promisify(close)

export class LingeringOverlays {
  readonly #held: number[] = []
  #timer: NodeJS.Timeout | null = null
  /** Settles when all are closed that were let go of. */
  #closed: Promise<void> = Promise.resolve()

  /**
   * Holds what is mounted on a place while that is taken away, and for a moment longer.
   *
   * @param unmount says whether something was mounted
   * @param isAwaited ends only when it is let go of
   */
  async outlast(at: string, isAwaited: boolean, unmount: () => Promise<boolean>): Promise<void> {
    const overlay = further(at)
    let wasMounted = false
    try {
      wasMounted = await unmount()
    } finally {
      if (overlay !== null) {
        if (isAwaited || !wasMounted) await letGoOf(overlay)
        else await this.#letGoLater(overlay)
      }
    }
  }

  /** Where many are held, one of them is waited for. */
  async #letGoLater(overlay: number): Promise<void> {
    this.#held.push(overlay)
    this.#timer ??= setTimeout(() => void this.letGo(), PAUSE_MS).unref()
    if (this.#held.length > MAX_HELD) await letGoOf(this.#held.shift()!)
  }

  /** Lets go of all that are held, one after the other: the disk has others to serve. */
  letGo(): Promise<void> {
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
    this.#closed = this.#closed.then(() => this.#closeEach())
    return this.#closed
  }

  async #closeEach(): Promise<void> {
    for (let overlay = this.#held.shift(); overlay !== undefined; overlay = this.#held.shift()) {
      await letGoOf(overlay)
    }
  }
}

/** The descriptor is gone whatever close(2) says. */
async function letGoOf(overlay: number): Promise<void> {
  await closeInBackground(overlay).catch(() => {})
}

/** A further mount of what is mounted on a place. @returns null where there is none to be had, or no such place */
function further(at: string): number | null {
  try {
    return cloneMount(byteString(at))
  } catch (error) {
    if (isErrno(error)) return null
    throw error
  }
}
