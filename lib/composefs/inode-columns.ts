/**
 * What is known of each inode of an image, one array for each thing: little memory, and no garbage.
 */

/** The part of a form that is the type. */
export const TYPE_BITS = 7
/** Bits of the form of a file of an object, and of an inode of 64 bytes. */
export const IS_BACKED = 8
export const IS_EXTENDED = 16

export class InodeColumns {
  /** Type as entries of directories tell it, IS_BACKED and IS_EXTENDED. */
  forms: Uint8Array
  /** st_mode. */
  modes: Uint16Array
  nlinks: Uint32Array
  uids: Uint32Array
  gids: Uint32Array
  /** Seconds in two halves, and nanoseconds. */
  timesLow: Uint32Array
  timesHigh: Int32Array
  nanoseconds: Uint32Array
  /** The size in the image; of a directory, what its entries take. */
  sizes: Float64Array
  /** Of a directory its first chunk of entries, of a device its number, else where target or content is in the arena. */
  extras: Float64Array
  /** The xattrs of inode i are those from xattrStarts[i] to xattrEnds[i]. */
  xattrStarts: Uint32Array
  xattrEnds: Uint32Array
  readonly #seconds = new DataView(new ArrayBuffer(8))

  /** @param room for how many inodes there shall be room at first */
  constructor(room: number) {
    this.forms = new Uint8Array(room)
    this.modes = new Uint16Array(room)
    this.nlinks = new Uint32Array(room)
    this.uids = new Uint32Array(room)
    this.gids = new Uint32Array(room)
    this.timesLow = new Uint32Array(room)
    this.timesHigh = new Int32Array(room)
    this.nanoseconds = new Uint32Array(room)
    this.sizes = new Float64Array(room)
    this.extras = new Float64Array(room)
    this.xattrStarts = new Uint32Array(room)
    this.xattrEnds = new Uint32Array(room)
  }

  /** Sees to it that there is room for inode i, when there is for the one before. */
  makeRoom(i: number): void {
    if (i < this.forms.length) return
    this.forms = doubled(this.forms)
    this.modes = doubled(this.modes)
    this.nlinks = doubled(this.nlinks)
    this.uids = doubled(this.uids)
    this.gids = doubled(this.gids)
    this.timesLow = doubled(this.timesLow)
    this.timesHigh = doubled(this.timesHigh)
    this.nanoseconds = doubled(this.nanoseconds)
    this.sizes = doubled(this.sizes)
    this.extras = doubled(this.extras)
    this.xattrStarts = doubled(this.xattrStarts)
    this.xattrEnds = doubled(this.xattrEnds)
  }

  setTime(i: number, seconds: bigint, nanoseconds: number): void {
    this.#seconds.setBigInt64(0, seconds)
    this.timesHigh[i] = this.#seconds.getInt32(0)
    this.timesLow[i] = this.#seconds.getUint32(4)
    this.nanoseconds[i] = nanoseconds
  }

  /** Less than 0 when inode a is older than b, 0 when they are of one time. */
  compareTimes(a: number, b: number): number {
    return (
      this.timesHigh[a]! - this.timesHigh[b]! ||
      this.timesLow[a]! - this.timesLow[b]! ||
      this.nanoseconds[a]! - this.nanoseconds[b]!
    )
  }

  secondsOf(i: number): bigint {
    return (BigInt(this.timesHigh[i]!) << 32n) | BigInt(this.timesLow[i]!)
  }
}

type NumberArray = Uint8Array | Uint16Array | Uint32Array | Int32Array | Float64Array

/** An array of twice the length that begins with the numbers of another. */
export function doubled<T extends NumberArray>(numbers: T): T {
  const longer = new (numbers.constructor as new (length: number) => T)(2 * numbers.length)
  longer.set(numbers)
  return longer
}
