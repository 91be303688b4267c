/**
 * Descriptors of directories below a top one, asked for by path: those on the way to the last one stay open, because the
 * next is nearly always near. No component is ever followed when it is a symlink.
 */
import type { ByteString } from '../bytes.js'
import { close, openDirectoryAt } from '../linux/files.js'

/** Deeper directories are walked to each time, so that depth never uses up descriptors. */
const MAX_OPEN = 64

export class DirectoryCursor {
  readonly #root: number
  readonly #names: ByteString[] = []
  readonly #fds: number[] = []
  #path: ByteString | null = null
  #fd: number
  /** Of a directory deeper than MAX_OPEN. */
  #deep: number | null = null

  /** @param root descriptor of the top; it stays the caller's */
  constructor(root: number) {
    this.#root = root
    this.#fd = root
  }

  /** @returns a descriptor that is good until the next call */
  open(path: ByteString): number {
    if (path === this.#path) return this.#fd
    const names = path === '' ? [] : (path.split('/') as ByteString[])
    this.#path = null
    this.#closeDeep()
    let kept = 0
    while (kept < this.#names.length && this.#names[kept] === names[kept]) kept++
    this.#closeTo(kept)
    let fd = this.#fds.at(-1) ?? this.#root
    for (const name of names.slice(kept)) {
      const next = openDirectoryAt(fd, name)
      this.#closeDeep()
      if (this.#fds.length < MAX_OPEN) {
        this.#names.push(name)
        this.#fds.push(next)
      } else {
        this.#deep = next
      }
      fd = next
    }
    this.#path = path
    this.#fd = fd
    return fd
  }

  close(): void {
    this.#path = null
    this.#closeDeep()
    this.#closeTo(0)
  }

  #closeTo(length: number): void {
    this.#names.length = length
    for (const fd of this.#fds.splice(length)) close(fd)
  }

  #closeDeep(): void {
    if (this.#deep === null) return
    close(this.#deep)
    this.#deep = null
  }
}
