/**
 * Lists of numbers, in little memory and without garbage.
 */
import { doubled } from './inode-columns.js'

export class IdList {
  /** The list is at the beginning. */
  numbers: Uint32Array
  length = 0

  /** @param room for how many numbers there shall be room at first */
  constructor(room: number) {
    this.numbers = new Uint32Array(room)
  }

  push(number: number): void {
    if (this.length === this.numbers.length) this.numbers = doubled(this.numbers)
    this.numbers[this.length++] = number
  }

  /** Orders what has come last. */
  sortFrom(start: number, compare: (a: number, b: number) => number): void {
    for (let i = start + 1; i < this.length; i++) {
      if (compare(this.numbers[i - 1]!, this.numbers[i]!) <= 0) continue
      this.numbers.subarray(start, this.length).sort(compare)
      return
    }
  }
}
