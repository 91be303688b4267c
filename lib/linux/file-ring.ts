/**
 * Files that are written by the kernel's own threads, by io_uring(7), while the caller goes on. Making a small file takes the
 * kernel longer than reading, hashing and judging its bytes takes us; so this is what a thread should not wait for.
 *
 * Contents are copied, so that the caller's memory is its own again at once. Where too much is under way, the caller waits.
 * What went wrong is told by the next call, or by `settle` at the latest. Not for several threads.
 */
import { closeSync } from 'node:fs'
import type { ByteString } from '../bytes.js'
import { calls } from './calls.js'
import {
  IORING_OP_CLOSE,
  IORING_OP_OPENAT,
  IORING_OP_WRITE,
  IOSQE_FIXED_FILE,
  IOSQE_IO_LINK,
  O_CREAT,
  O_EXCL,
  O_WRONLY,
} from './constants.js'
import { ERRNO, errnoError } from './errno.js'
import { Uring } from './uring.js'

/** The longest name below a directory that `create` takes. */
export const MAX_RING_NAME_BYTES = 127

const ENTRIES = 256
/** Steps of one file, which are one chain: each begins when the one before has succeeded. */
const [OPEN, WRITE, CLOSE, PIECE] = [0, 1, 2, 3] as const
const CHAIN_STEPS = 3
/** Files and pieces under way at most; each is a chain or a single step, and none has more results than the ring has room for. */
const MAX_UNDER_WAY = 128
/** Steps that are worth a system call. */
const BATCH_STEPS = 48
const SLAB_BYTES = 1024 * 1024
const MAX_SLABS = 2
const NAME_BYTES = MAX_RING_NAME_BYTES + 1

/** Memory that contents are copied to; used again when all that was copied to it is written. */
interface Slab {
  readonly bytes: Buffer
  readonly address: number
  filled: number
  unwritten: number
}

/** A file that is written in pieces, by a descriptor. */
interface Pieces {
  readonly fd: number
  unwritten: number
  isEnded: boolean
}

/** What is under way under one number, which is that of the slot for its descriptor too. */
interface UnderWay {
  name: ByteString
  /** Where its bytes are, as long as they are needed. */
  slab: Slab | null
  address: number
  /** Bytes to be written. */
  length: number
  written: number
  /** As it was when the steps were added. */
  writtenBefore: number
  pieces: Pieces | null
  /** Where in that file the bytes go. */
  position: number
  /** Of the slot's own descriptor. */
  wasOpened: boolean
  wasClosed: boolean
  /** Steps whose results are still to come. */
  steps: number
}

export class FileRing implements Disposable {
  readonly #ring: Uring
  readonly #names = Buffer.allocUnsafeSlow(MAX_UNDER_WAY * NAME_BYTES)
  readonly #nameAddress: number
  readonly #underWay: UnderWay[] = []
  readonly #free: number[] = []
  readonly #slabs: Slab[] = []
  #slab: Slab | null = null
  readonly #open = new Set<Pieces>()
  /** Numbers of what was written in part, or could not be: there are steps to be added for them. */
  readonly #unsettled: number[] = []
  #failure: { readonly errno: number; readonly name: ByteString; readonly syscall: string } | null = null
  #isClosed = false

  /**
   * @param workers threads of the kernel at most
   * @returns null where the kernel does not have it, or not for us
   */
  static open(workers: number): FileRing | null {
    const ring = Uring.open(ENTRIES, MAX_UNDER_WAY, workers)
    return ring && new FileRing(ring)
  }

  private constructor(ring: Uring) {
    this.#ring = ring
    this.#nameAddress = Number(calls().addressOf(this.#names))
    for (let slot = MAX_UNDER_WAY - 1; slot >= 0; slot--) {
      this.#underWay[slot] = {
        name: '' as ByteString,
        slab: null,
        address: 0,
        length: 0,
        written: 0,
        writtenBefore: 0,
        pieces: null,
        position: 0,
        wasOpened: false,
        wasClosed: false,
        steps: 0,
      }
      this.#free.push(slot)
    }
  }

  /**
   * Makes a file that must not be there.
   *
   * @param directory that the name is relative to; open until `settle` returns
   * @param name at most MAX_RING_NAME_BYTES bytes, without NUL
   * @param bytes at least one, at most 1 MiB
   * @throws what an earlier file failed with, as Node's fs would
   */
  create(directory: number, name: ByteString, bytes: Uint8Array, mode: number): void {
    const slot = this.#take(name, bytes)
    const at = slot * NAME_BYTES
    this.#names[at + this.#names.write(name, at, 'latin1')] = 0
    const flags = O_WRONLY | O_CREAT | O_EXCL
    const [path, number] = [this.#nameAddress + at, slot * 4 + OPEN]
    this.#ring.add(IORING_OP_OPENAT, IOSQE_IO_LINK, directory, path, mode, number, 0, flags, slot + 1)
    this.#underWay[slot]!.steps = 1
    this.#addWriteAndClose(slot)
    if (this.#ring.queued >= BATCH_STEPS) this.#submit(0)
  }

  /**
   * Takes over an open file, to write it in pieces.
   *
   * @returns what writes a piece, and what ends the file: it is closed when all of it is written
   */
  pieces(
    fd: number,
    name: ByteString,
  ): { put: (bytes: Uint8Array, position: number) => void; end: () => void } {
    const file: Pieces = { fd, unwritten: 0, isEnded: false }
    this.#open.add(file)
    return {
      put: (bytes, position) => {
        for (let at = 0; at < bytes.length; at += SLAB_BYTES)
          this.#writePiece(file, name, bytes.subarray(at, at + SLAB_BYTES), position + at)
      },
      end: () => {
        file.isEnded = true
        this.#closeWritten(file)
      },
    }
  }

  /** Waits until all is written. @throws what a file failed with, as Node's fs would */
  settle(): void {
    this.#wait()
    this.#throwIfFailed()
  }

  /** Waits for what is under way, and lets go of the ring and of the files that are open. */
  [Symbol.dispose](): void {
    if (this.#isClosed) return
    this.#isClosed = true
    try {
      this.#wait()
    } finally {
      for (const { fd } of this.#open) closeSync(fd)
      this.#ring.close()
    }
  }

  #writePiece(file: Pieces, name: ByteString, bytes: Uint8Array, position: number): void {
    const slot = this.#take(name, bytes)
    const now = this.#underWay[slot]!
    now.pieces = file
    now.position = position
    file.unwritten++
    this.#addPiece(slot)
    // It is large, and worth beginning with.
    this.#submit(0)
  }

  /** Steps for what is not written yet. */
  #addPiece(slot: number): void {
    const now = this.#underWay[slot]!
    const [address, length] = [now.address + now.written, now.length - now.written]
    const position = now.position + now.written
    this.#ring.add(IORING_OP_WRITE, 0, now.pieces!.fd, address, length, slot * 4 + PIECE, position)
    now.writtenBefore = now.written
    now.steps++
  }

  #addWriteAndClose(slot: number): void {
    const now = this.#underWay[slot]!
    const [address, length] = [now.address + now.written, now.length - now.written]
    const flags = IOSQE_IO_LINK | IOSQE_FIXED_FILE
    this.#ring.add(IORING_OP_WRITE, flags, slot, address, length, slot * 4 + WRITE, now.written)
    now.writtenBefore = now.written
    now.steps++
    this.#addClose(slot)
  }

  #addClose(slot: number): void {
    this.#ring.add(IORING_OP_CLOSE, 0, 0, 0, 0, slot * 4 + CLOSE, 0, 0, slot + 1)
    this.#underWay[slot]!.steps++
  }

  /** A number for what is begun, its bytes copied. */
  #take(name: ByteString, bytes: Uint8Array): number {
    this.#throwIfFailed()
    while (this.#free.length === 0 || this.#ring.queued > ENTRIES - CHAIN_STEPS) this.#submit(1)
    const slab = this.#slabFor(bytes.length)
    slab.bytes.set(bytes, slab.filled)
    slab.filled += bytes.length
    slab.unwritten++
    const slot = this.#free.pop()!
    const now = this.#underWay[slot]!
    now.name = name
    now.slab = slab
    now.address = slab.address + slab.filled - bytes.length
    now.length = bytes.length
    now.written = 0
    now.pieces = null
    now.wasOpened = false
    now.wasClosed = false
    now.steps = 0
    return slot
  }

  #slabFor(length: number): Slab {
    const now = this.#slab
    if (now !== null && now.filled + length <= SLAB_BYTES) return now
    for (;;) {
      const slab = this.#slabs.find(({ unwritten }) => unwritten === 0) ?? this.#newSlab()
      if (slab !== null) {
        slab.filled = 0
        this.#slab = slab
        return slab
      }
      this.#submit(1)
    }
  }

  #newSlab(): Slab | null {
    if (this.#slabs.length === MAX_SLABS) return null
    const bytes = Buffer.allocUnsafeSlow(SLAB_BYTES)
    const slab = { bytes, address: Number(calls().addressOf(bytes)), filled: 0, unwritten: 0 }
    this.#slabs.push(slab)
    return slab
  }

  /** Whatever failed before: what is under way is waited for in any case. */
  #wait(): void {
    while (this.#ring.unfinished > 0 || this.#unsettled.length > 0) this.#submit(1)
  }

  /** Tells the kernel what was added, and takes what is done; waits for some of it if told to. */
  #submit(atLeast: number): void {
    while (this.#unsettled.length > 0 && this.#ring.queued <= ENTRIES - CHAIN_STEPS)
      this.#goOn(this.#unsettled.pop()!)
    this.#ring.submit(Math.min(atLeast, this.#ring.unfinished), this.#onResult)
  }

  readonly #onResult = (userData: number, result: number): void =>
    this.#done(userData >>> 2, userData & 3, result)

  #done(slot: number, step: number, result: number): void {
    const now = this.#underWay[slot]!
    now.steps--
    // The steps behind one that failed, or was done in part, are cancelled, which is no failure of their own.
    if (result < 0 && result !== -ERRNO.ECANCELED) this.#fail(now, step, -result)
    if (step === OPEN) now.wasOpened = result >= 0
    else if (step === CLOSE) now.wasClosed = result !== -ERRNO.ECANCELED
    else if (result > 0) now.written += result
    if (now.written === now.length) this.#forgetBytes(now)
    if (now.steps > 0) return
    const isLeft = now.pieces === null ? now.wasOpened && !now.wasClosed : now.written < now.length
    if (isLeft) this.#unsettled.push(slot)
    else this.#end(slot)
  }

  /**
   * Goes on with what was written in part: the next step writes the rest, or says why that cannot be. What could not be written
   * at all is closed.
   */
  #goOn(slot: number): void {
    const now = this.#underWay[slot]!
    if (now.written < now.length && now.written === now.writtenBefore) this.#fail(now, WRITE, ERRNO.EIO)
    const isWanted = now.written < now.length && this.#failure === null
    if (now.pieces === null) {
      if (isWanted) this.#addWriteAndClose(slot)
      else this.#addClose(slot)
    } else if (isWanted) {
      this.#addPiece(slot)
    } else {
      this.#end(slot)
    }
  }

  #end(slot: number): void {
    const now = this.#underWay[slot]!
    this.#forgetBytes(now)
    this.#free.push(slot)
    const { pieces } = now
    if (pieces === null) return
    now.pieces = null
    pieces.unwritten--
    this.#closeWritten(pieces)
  }

  #forgetBytes(now: UnderWay): void {
    if (now.slab !== null) now.slab.unwritten--
    now.slab = null
  }

  #closeWritten(file: Pieces): void {
    if (!file.isEnded || file.unwritten > 0) return
    this.#open.delete(file)
    closeSync(file.fd)
  }

  #fail({ name }: UnderWay, step: number, errno: number): void {
    this.#failure ??= { errno, name, syscall: ['openat', 'write', 'close', 'write'][step]! }
  }

  #throwIfFailed(): void {
    if (this.#failure === null) return
    const { errno, syscall, name } = this.#failure
    throw errnoError(errno, syscall, name)
  }
}
