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
  slab: Slab | null
  /** Bytes to be written. */
  length: number
  pieces: Pieces | null
  /** Whether it could not be opened or written. */
  isGivenUp: boolean
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
      this.#underWay[slot] = { name: '' as ByteString, slab: null, length: 0, pieces: null, isGivenUp: false }
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
    const { slab, length } = this.#underWay[slot]!
    const content = slab!.address + slab!.filled - length
    const flags = O_WRONLY | O_CREAT | O_EXCL
    const [ring, number] = [this.#ring, slot * 4]
    ring.add(
      IORING_OP_OPENAT,
      IOSQE_IO_LINK,
      directory,
      this.#nameAddress + at,
      mode,
      number + OPEN,
      0,
      flags,
      slot + 1,
    )
    ring.add(IORING_OP_WRITE, IOSQE_IO_LINK | IOSQE_FIXED_FILE, slot, content, length, number + WRITE)
    ring.add(IORING_OP_CLOSE, 0, 0, 0, 0, number + CLOSE, 0, 0, slot + 1)
    if (ring.queued >= BATCH_STEPS) this.#submit(0)
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
    file.unwritten++
    const content = now.slab!.address + now.slab!.filled - bytes.length
    this.#ring.add(IORING_OP_WRITE, 0, file.fd, content, bytes.length, slot * 4 + PIECE, position)
    // It is large, and worth beginning with.
    this.#submit(0)
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
    now.length = bytes.length
    now.pieces = null
    now.isGivenUp = false
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
    while (this.#ring.unfinished > 0) this.#submit(1)
  }

  /** Tells the kernel what was added, and takes what is done; waits for some of it if told to. */
  #submit(atLeast: number): void {
    this.#ring.submit(atLeast, this.#onResult)
  }

  readonly #onResult = (userData: number, result: number): void =>
    this.#done(userData >>> 2, userData & 3, result)

  #done(slot: number, step: number, result: number): void {
    const now = this.#underWay[slot]!
    if (step === CLOSE && this.#isClosedApart(slot, now, result)) return
    if (result < 0) this.#fail(now, step, -result)
    if (step === OPEN) return
    if (step === WRITE || step === PIECE) {
      now.slab!.unwritten--
      // A file is not written in part but where there is no more room.
      if (result >= 0 && result < now.length) this.#fail(now, step, ERRNO.ENOSPC)
    }
    if (step === WRITE) return
    this.#free.push(slot)
    if (step !== PIECE) return
    const { pieces } = now
    now.pieces = null
    pieces!.unwritten--
    this.#closeWritten(pieces!)
  }

  /** A file that could not be written stays open: it is closed by a step of its own, whether or not it was opened at all. */
  #isClosedApart(slot: number, now: UnderWay, result: number): boolean {
    if (!now.isGivenUp && result !== -ERRNO.ECANCELED) return false
    if (now.isGivenUp) {
      this.#free.push(slot)
    } else {
      now.isGivenUp = true
      this.#ring.add(IORING_OP_CLOSE, 0, 0, 0, 0, slot * 4 + CLOSE, 0, 0, slot + 1)
    }
    return true
  }

  #closeWritten(file: Pieces): void {
    if (!file.isEnded || file.unwritten > 0) return
    this.#open.delete(file)
    closeSync(file.fd)
  }

  #fail(now: UnderWay, step: number, errno: number): void {
    // The rest of a chain whose first step failed is cancelled, and that may be heard of first.
    if (this.#failure !== null && this.#failure.errno !== ERRNO.ECANCELED) return
    this.#failure = { errno, name: now.name, syscall: ['openat', 'write', 'close', 'write'][step]! }
  }

  #throwIfFailed(): void {
    if (this.#failure === null) return
    const { errno, syscall, name } = this.#failure
    throw errnoError(errno, syscall, name)
  }
}
