/**
 * Overlays whose place was taken away and whose last mount is let go of a moment later.
 *
 * When the last mount of an overlay goes, the kernel first writes out the whole filesystem of its upper directory
 * (ovl_sync_fs), and whoever unmounts waits for it. A further mount without a place takes that out of the way: what the
 * container wrote is removed by then and need not be written, and nobody waits.
 */
import { close, closeSync } from 'node:fs'
import { promisify } from 'node:util'
import { byteString, cloneMount, isErrno } from '../../lib/driver/kit.js'

const PAUSE_MS = 20 // so that what waits for the disk now comes first
const MAX_HELD = 64

const closeInBackground = promisify(close)

export class LingeringOverlays {
  readonly #held: number[] = []
  #timer: NodeJS.Timeout | null = null
  #running: Promise<void> | null = null

  /**
   * Holds what is mounted on a place while that is taken away, and for a moment longer.
   *
   * @param unmount says whether something was mounted
   */
  async outlast(at: string, unmount: () => Promise<boolean>): Promise<boolean> {
    const overlay = further(at)
    let wasMounted = false
    try {
      wasMounted = await unmount()
    } finally {
      if (overlay !== null) {
        if (wasMounted) await this.#letGoLater(overlay)
        else closeSync(overlay)
      }
    }
    return wasMounted
  }

  /** Waits only when many are held. */
  async #letGoLater(overlay: number): Promise<void> {
    this.#held.push(overlay)
    if (this.#held.length > MAX_HELD) return this.letGo()
    this.#timer ??= setTimeout(() => void this.letGo(), PAUSE_MS).unref()
  }

  /** Lets go of all that are held. */
  async letGo(): Promise<void> {
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
    this.#running ??= this.#closeEach().finally(() => {
      this.#running = null
    })
    await this.#running
  }

  /** One after the other: the disk has others to serve. */
  async #closeEach(): Promise<void> {
    for (let overlay = this.#held.shift(); overlay !== undefined; overlay = this.#held.shift()) {
      // The descriptor is gone whatever close(2) says.
      await closeInBackground(overlay).catch(() => {})
    }
  }
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
