/**
 * io_uring(7): steps that are queued for the kernel, and their results. One ring, its memory shared with the kernel; what the
 * steps are, and which belong together, is the caller's business. Not for several threads.
 */
import { type Calls, calls } from './calls.js'
import {
  IORING_ENTER_GETEVENTS,
  IORING_FEAT_SINGLE_MMAP,
  IORING_OFF_SQ_RING,
  IORING_OFF_SQES,
  IORING_REGISTER_FILES2,
  IORING_REGISTER_IOWQ_MAX_WORKERS,
  IORING_RSRC_REGISTER_SPARSE,
  IORING_SETUP_COOP_TASKRUN,
  IORING_SETUP_DEFER_TASKRUN,
  IORING_SETUP_SINGLE_ISSUER,
  MAP_SHARED,
  PROT_READ,
  PROT_WRITE,
  URING_CQE,
  URING_PARAMS,
  URING_REGISTER,
  URING_SQE,
} from './constants.js'
import { ERRNO, errnoError } from './errno.js'

const WORDS_OF_STEP = URING_SQE.size / 4

export class Uring {
  readonly #libc: Calls
  readonly #fd: number
  readonly #map: RingMap
  /** Steps that the kernel has not seen yet, and those that it has and is not done with. */
  #queued = 0
  #submitted = 0

  /**
   * @param entries how many steps can be queued
   * @param descriptors how many descriptors of its own it has, which steps name by number
   * @param workers threads of the kernel at most
   * @returns null where the kernel does not have it, or not for us
   */
  static open(entries: number, descriptors: number, workers: number): Uring | null {
    const libc = calls()
    const parameters = Buffer.alloc(URING_PARAMS.size)
    const fd = setUp(libc, entries, parameters)
    if (fd < 0) return null
    const map = RingMap.of(libc, fd, parameters)
    if (map !== null && register(libc, fd, descriptors, workers)) return new Uring(libc, fd, map)
    map?.unmap()
    libc.close(fd)
    return null
  }

  private constructor(libc: Calls, fd: number, map: RingMap) {
    this.#libc = libc
    this.#fd = fd
    this.#map = map
  }

  /** Steps that are queued, and not seen by the kernel yet. */
  get queued(): number {
    return this.#queued
  }

  /** Steps that the kernel is not done with, those that it has not seen among them. */
  get unfinished(): number {
    return this.#queued + this.#submitted
  }

  /**
   * Queues a step (struct io_uring_sqe); the caller sees to it that there are never more than fit.
   *
   * @param userData what its result will be known by: a number of 32 bits
   * @param fileIndex one more than the number of a descriptor of the ring's own
   */
  add(
    operation: number,
    flags: number,
    fd: number,
    address: number,
    length: number,
    userData: number,
    offset = 0,
    openFlags = 0,
    fileIndex = 0,
  ): void {
    const { steps } = this.#map
    const at = this.#map.next() * WORDS_OF_STEP
    steps.fill(0, at, at + WORDS_OF_STEP)
    steps[at] = operation | (flags << 8)
    steps[at + URING_SQE.fd / 4] = fd
    steps[at + URING_SQE.offset / 4] = offset
    steps[at + URING_SQE.offset / 4 + 1] = offset / 2 ** 32
    steps[at + URING_SQE.address / 4] = address
    steps[at + URING_SQE.address / 4 + 1] = address / 2 ** 32
    steps[at + URING_SQE.length / 4] = length
    steps[at + URING_SQE.openFlags / 4] = openFlags
    steps[at + URING_SQE.userData / 4] = userData
    steps[at + URING_SQE.fileIndex / 4] = fileIndex
    this.#queued++
  }

  /**
   * Tells the kernel what was queued, and takes what is done.
   *
   * @param atLeast how many results to wait for
   * @param done called for each result: what the call would have given, or a negative errno
   */
  submit(atLeast: number, done: (userData: number, result: number) => void): void {
    this.#map.publish()
    const taken = this.#libc.io_uring_enter(this.#fd, this.#queued, atLeast, IORING_ENTER_GETEVENTS, null, 0)
    if (taken < 0) {
      const errno = this.#libc.errno()
      // Interrupted, or short of something that what is under way will give back.
      const isPassing = errno === ERRNO.EINTR || errno === ERRNO.EBUSY || errno === ERRNO.EAGAIN
      if (!isPassing || (errno === ERRNO.EAGAIN && this.#submitted === 0))
        throw errnoError(errno, 'io_uring_enter')
    } else {
      this.#queued -= taken
      this.#submitted += taken
    }
    this.#map.takeResults((userData, result) => {
      this.#submitted--
      done(userData, result)
    })
  }

  /** Lets go of it. Nothing may be unfinished. */
  close(): void {
    this.#libc.close(this.#fd)
    this.#map.unmap()
  }
}

/**
 * When results are posted: when they are asked for (Linux 6.1), when this thread is in the kernel anyway (5.19), or at once, for
 * which it is interrupted each time.
 */
const WAYS = [IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN, IORING_SETUP_COOP_TASKRUN, 0]

/** @returns the ring's descriptor, or -1; the kernel fills the parameters in */
function setUp(libc: Calls, entries: number, parameters: Buffer): number {
  for (const flags of WAYS) {
    parameters.fill(0).writeUInt32LE(flags, URING_PARAMS.flags)
    const fd = libc.io_uring_setup(entries, parameters)
    if (fd >= 0 || libc.errno() !== ERRNO.EINVAL) return fd
  }
  return -1
}

/** Room for the ring's own descriptors, and how many threads there may be. */
function register(libc: Calls, fd: number, descriptors: number, workers: number): boolean {
  const files = Buffer.alloc(URING_REGISTER.size)
  files.writeUInt32LE(descriptors, URING_REGISTER.count)
  files.writeUInt32LE(IORING_RSRC_REGISTER_SPARSE, URING_REGISTER.flags)
  if (libc.io_uring_register(fd, IORING_REGISTER_FILES2, files, files.length) < 0) return false
  const limits = Buffer.alloc(8) // two numbers: for files, and for all else, where 0 leaves it as it is
  limits.writeUInt32LE(workers, 0)
  return libc.io_uring_register(fd, IORING_REGISTER_IOWQ_MAX_WORKERS, limits, 2) === 0
}

/** The memory that is shared with the kernel: the queue of steps, and that of results. */
class RingMap {
  readonly #libc: Calls
  readonly #ringAddress: number
  readonly #ringBytes: number
  readonly #stepsAddress: number
  readonly #words: Int32Array
  /** As words of 32 bits, of which the kernel's structures for files are made, the lower half of a long one first. */
  readonly steps: Int32Array
  readonly #entries: number
  readonly #results: number
  readonly #at: {
    readonly sqTail: number
    readonly cqHead: number
    readonly cqTail: number
    readonly cqes: number
  }
  #tail = 0

  /** Null when it cannot be mapped. */
  static of(libc: Calls, fd: number, parameters: Buffer): RingMap | null {
    const at = (offset: number) => parameters.readUInt32LE(offset)
    if ((at(URING_PARAMS.features) & IORING_FEAT_SINGLE_MMAP) === 0) return null
    const [entries, results] = [at(URING_PARAMS.sqEntries), at(URING_PARAMS.cqEntries)]
    const ringBytes = Math.max(
      at(URING_PARAMS.sqArray) + entries * 4,
      at(URING_PARAMS.cqes) + results * URING_CQE.size,
    )
    const map = (length: number, offset: number) =>
      libc.mmap(0, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, offset)
    const ring = map(ringBytes, IORING_OFF_SQ_RING)
    if (ring < 0) return null
    const steps = map(entries * URING_SQE.size, IORING_OFF_SQES)
    if (steps >= 0) return new RingMap(libc, parameters, { ring, ringBytes, steps })
    libc.munmap(ring, ringBytes)
    return null
  }

  private constructor(
    libc: Calls,
    parameters: Buffer,
    { ring, ringBytes, steps }: { ring: number; ringBytes: number; steps: number },
  ) {
    const at = (offset: number) => parameters.readUInt32LE(offset)
    this.#libc = libc
    this.#ringAddress = ring
    this.#ringBytes = ringBytes
    this.#stepsAddress = steps
    this.#entries = at(URING_PARAMS.sqEntries)
    this.#results = at(URING_PARAMS.cqEntries)
    this.#words = new Int32Array(libc.viewOf(ring, ringBytes))
    this.steps = new Int32Array(libc.viewOf(steps, this.#entries * URING_SQE.size))
    const word = (offset: number) => at(offset) / 4
    this.#at = {
      sqTail: word(URING_PARAMS.sqTail),
      cqHead: word(URING_PARAMS.cqHead),
      cqTail: word(URING_PARAMS.cqTail),
      cqes: word(URING_PARAMS.cqes),
    }
    // The step of each place is that of the same number, for ever.
    const array = word(URING_PARAMS.sqArray)
    for (let i = 0; i < this.#entries; i++) this.#words[array + i] = i
  }

  /** The place of the next step. */
  next(): number {
    const place = this.#tail & (this.#entries - 1)
    this.#tail = (this.#tail + 1) | 0
    return place
  }

  /** Shows the kernel what was added. */
  publish(): void {
    Atomics.store(this.#words, this.#at.sqTail, this.#tail)
  }

  takeResults(done: (userData: number, result: number) => void): void {
    let head = this.#words[this.#at.cqHead]!
    const tail = Atomics.load(this.#words, this.#at.cqTail)
    for (; head !== tail; head = (head + 1) | 0) {
      const at = this.#at.cqes + (head & (this.#results - 1)) * (URING_CQE.size / 4)
      done(this.#words[at + URING_CQE.userData / 4]!, this.#words[at + URING_CQE.result / 4]!)
    }
    Atomics.store(this.#words, this.#at.cqHead, head)
  }

  unmap(): void {
    this.#libc.munmap(this.#ringAddress, this.#ringBytes)
    this.#libc.munmap(this.#stepsAddress, this.#entries * URING_SQE.size)
  }
}
