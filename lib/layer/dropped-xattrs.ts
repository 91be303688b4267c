/**
 * Which extended attributes of an image are not taken over, and from how many files: a few names are told, and the rest
 * together, for a layer may have millions.
 */
const MAX_NAMES = 50

export class DroppedXattrs {
  readonly #counts = new Map<string, number>()
  #others = 0

  add(name: string, count = 1): void {
    const before = this.#counts.get(name)
    if (before === undefined && this.#counts.size === MAX_NAMES) this.#others += count
    else this.#counts.set(name, (before ?? 0) + count)
  }

  addAll(dropped: DroppedXattrs): void {
    for (const [name, count] of dropped.#counts) this.add(name, count)
    this.#others += dropped.#others
  }

  /** Names with the number of files that had them. */
  get counts(): ReadonlyMap<string, number> {
    return this.#counts
  }

  /** Attributes of further names. */
  get others(): number {
    return this.#others
  }
}
