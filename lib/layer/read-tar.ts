/**
 * Reads layer tars: a push parser, synchronous and byte-exact. Whatever is written comes out again in order, as `raw` or as
 * `content`, and in between it says which members there are.
 *
 * Read are v7, ustar, old GNU and PAX archives with all sparse forms. Strict, because layers are hostile: what is malformed
 * or unknown is refused by name, and so is what the common readers (GNU tar, libarchive, Go) understand in different ways.
 * Names are bytes and are not cleaned here; what a layer may ask for is decided in policy.ts. Nothing is stored.
 */
import { asBuffer, type ByteString, EMPTY } from '../bytes.js'
import { BugError, ImageError } from '../errors.js'
import type { TarEntry } from './entry.js'
import type { LayerLimits } from './limits.js'
import { checkRuns, type FlatRuns, readOldSparse, SparseMapReader } from './sparse.js'
import { invalid, shown, TarFault } from './tar-fault.js'
import { BLOCK_BYTES, FIELD, isZeroBlock, nameField, verifyChecksum } from './tar-header.js'
import { type EntryDraft, type ExtensionType, isExtension, MemberHeaders } from './tar-member.js'

/** Receives what the reader finds; must not call the reader. */
export interface TarSink {
  /**
   * Every byte of the tar that is not file content, in order: headers, PAX bodies, long names, sparse maps, padding, end
   * blocks, trailer. The view is valid only during the call.
   */
  raw(bytes: Uint8Array): void
  /** A member whose headers (and sparse map) are complete; called before its content. */
  entry(entry: TarEntry): void
  /** Content bytes as stored (for sparse members the condensed data). The view is valid only during the call. */
  content(bytes: Uint8Array): void
  /** After the last content byte of a member (also for members without content), before its padding. */
  entryEnd(): void
}

type State = 'header' | 'extension' | 'old-sparse' | 'sparse-map' | 'content' | 'padding' | 'trailer'

// What is not content is limited like content, or a bomb would go into the trailer; with room for headers when the limit is small.
const RAW_SLACK_BYTES = 64 * 1024 * 1024

const NOTHING = Buffer.alloc(0)

export class TarReader {
  readonly #sink: TarSink
  readonly #limits: LayerLimits
  #state: State = 'header'
  #usable = true

  #chunk: Buffer = NOTHING
  /** Where in the tar the chunk begins. */
  #chunkOffset = 0
  #at = 0
  /** The first byte of the chunk that has not gone to raw() or content() yet. */
  #rawFrom = 0

  /** The next bytes to be looked at together, and what came of them in earlier chunks. */
  #need = BLOCK_BYTES
  #held = Buffer.allocUnsafe(BLOCK_BYTES)
  #filled = 0

  readonly #headers: MemberHeaders
  /** Where in the tar the first header of the member being read is; -1 between members. */
  #memberOffset = -1
  /** Its name, for messages; empty as long as it is not known. */
  #name: ByteString = EMPTY
  #extension: ExtensionType = 'x'
  #extensionBytes = 0

  /** The member whose sparse map is being read, and how much of it there is. */
  #entry: EntryDraft | null = null
  #stored = 0
  #oldSparse: FlatRuns = []
  #sparseMap = new SparseMapReader()
  #mapBytes = 0

  #contentLeft = 0
  #paddingLeft = 0

  #zeroBlocks = 0
  #entries = 0
  #expandedBytes = 0
  #rawBytes = 0

  constructor(sink: TarSink, limits: LayerLimits) {
    this.#sink = sink
    this.#limits = limits
    this.#headers = new MemberHeaders(limits.maxHeaderBytes)
  }

  /** Bytes of content of the current member still to come; 0 outside. */
  get contentLeft(): number {
    return this.#contentLeft
  }

  /**
   * Reads on. Chunks may be cut anywhere; whatever can be told from the bytes so far has been told when this returns, so
   * that contentLeft is not 0 as soon as the last header byte of a member with content is written.
   *
   * @throws {ImageError} `tar-invalid`, `entry-refused`, `limit-exceeded`; facts `entry`, `cause`, `offset`. The reader is
   * of no use afterwards.
   */
  write(bytes: Uint8Array): void {
    this.#begin()
    this.#guard(() => this.#feed(asBuffer(bytes)))
    this.#usable = true
  }

  /**
   * In place of write: says that the next `length` bytes are content and are left out, as when a layer record is read again.
   * Calls entryEnd when they were the last.
   *
   * @throws {BugError} when fewer bytes of content are left
   */
  skipContent(length: number): void {
    if (!Number.isSafeInteger(length) || length < 0 || length > this.#contentLeft) {
      throw new BugError(`Cannot skip ${length} bytes of content: ${this.#contentLeft} are left`)
    }
    this.#begin()
    this.#chunkOffset += length
    if (length > 0) this.#passContent(length)
    this.#usable = true
  }

  /**
   * Says that the tar is complete.
   *
   * One zero block is enough of an end, as for other readers. Without any, the archive may have been cut between two
   * members and is refused, unless it has no bytes at all: then nothing can be missing, and some tools write empty layers so.
   *
   * @throws {ImageError} `tar-invalid` when the archive is cut
   */
  end(): void {
    this.#begin()
    this.#guard(() => this.#finish())
  }

  #begin(): void {
    if (!this.#usable) throw new BugError('Cannot use a tar reader that has ended, failed or is being called')
    this.#usable = false
  }

  #guard(work: () => void): void {
    try {
      work()
    } catch (thrown) {
      throw thrown instanceof TarFault ? this.#explain(thrown) : thrown
    }
  }

  #explain(fault: TarFault): ImageError {
    const entry = shown(this.#name || this.#headers.name)
    const offset = this.#memberOffset >= 0 ? this.#memberOffset : this.#offset()
    const what = entry === '' ? `the layer at byte ${offset}` : `entry "${entry}" of the layer`
    return new ImageError(fault.code, `Cannot read ${what}: ${fault.message}`, {
      facts: { entry, cause: fault.message, offset, ...(fault.limit === null ? {} : { limit: fault.limit }) },
    })
  }

  #feed(chunk: Buffer): void {
    this.#chunk = chunk
    while (this.#at < chunk.length) {
      if (this.#state === 'content') this.#feedContent()
      else if (this.#state === 'padding') this.#feedPadding()
      else if (this.#state === 'trailer') this.#at = chunk.length
      else this.#feedUnit()
    }
    this.#flushRaw()
    this.#chunkOffset += chunk.length
    this.#chunk = NOTHING
    this.#at = 0
    this.#rawFrom = 0
  }

  #flushRaw(): void {
    const length = this.#at - this.#rawFrom
    if (length === 0) return
    this.#rawBytes += length
    const max = this.#limits.maxTotalBytes + RAW_SLACK_BYTES
    if (this.#rawBytes > max) {
      throw new TarFault('limit-exceeded', `the layer has more than ${max} bytes that are no content`)
    }
    const from = this.#rawFrom
    this.#rawFrom = this.#at
    this.#sink.raw(this.#chunk.subarray(from, this.#at))
  }

  #feedContent(): void {
    const from = this.#at
    const length = Math.min(this.#contentLeft, this.#chunk.length - from)
    const isWhole = length === this.#chunk.length
    this.#sink.content(isWhole ? this.#chunk : this.#chunk.subarray(from, from + length))
    this.#at += length
    this.#rawFrom = this.#at
    this.#passContent(length)
  }

  #passContent(length: number): void {
    this.#contentLeft -= length
    if (this.#contentLeft === 0) this.#endMember()
  }

  #feedPadding(): void {
    const length = Math.min(this.#paddingLeft, this.#chunk.length - this.#at)
    this.#at += length
    this.#paddingLeft -= length
    if (this.#paddingLeft === 0) this.#endPadding()
  }

  /** Headers and what else has to be looked at as a whole: in place when the chunk has all of it, else put together. */
  #feedUnit(): void {
    const from = this.#at
    const available = this.#chunk.length - from
    if (this.#filled === 0 && available >= this.#need) {
      this.#at += this.#need
      this.#readUnit(this.#chunk, from)
      return
    }
    if (this.#held.length < this.#need) this.#held = Buffer.allocUnsafe(this.#need)
    const length = Math.min(available, this.#need - this.#filled)
    this.#chunk.copy(this.#held, this.#filled, from, from + length)
    this.#at += length
    this.#filled += length
    if (this.#filled < this.#need) return
    this.#filled = 0
    this.#readUnit(this.#held, 0)
  }

  #expect(state: State, need: number): void {
    this.#state = state
    this.#need = need
  }

  #readUnit(bytes: Buffer, at: number): void {
    if (this.#state === 'header') this.#readHeader(bytes, at)
    else if (this.#state === 'extension') this.#readExtension(bytes, at)
    else if (this.#state === 'old-sparse') this.#readOldSparseExtension(bytes, at)
    else this.#readSparseMap(bytes, at)
  }

  #readHeader(block: Buffer, at: number): void {
    if (block[at] === 0 && isZeroBlock(block, at)) {
      this.#readZeroBlock()
      return
    }
    if (this.#memberOffset < 0) this.#memberOffset = this.#offset() - BLOCK_BYTES
    try {
      // GNU tar stops at such a place with a warning, Go fails: what one of them creates does not exist for the other.
      if (this.#zeroBlocks > 0) {
        throw invalid('a lone block of zeros stands in front of it, and two would end the archive')
      }
      verifyChecksum(block, at)
      const type = String.fromCharCode(block[at + FIELD.type.at]!)
      if (isExtension(type)) this.#startExtension(type, block, at)
      else this.#startMember(type, block, at)
    } catch (thrown) {
      if (this.#name === EMPTY) this.#name = this.#headers.name || nameField(block, at, FIELD.name)
      throw thrown
    }
  }

  #readZeroBlock(): void {
    if (this.#headers.isPending) {
      throw invalid('the archive ends after a PAX header or long name whose member is not there')
    }
    this.#zeroBlocks++
    if (this.#zeroBlocks === 2) this.#state = 'trailer'
  }

  #startExtension(type: ExtensionType, block: Buffer, at: number): void {
    const length = this.#headers.announce(type, block, at)
    this.#extension = type
    this.#extensionBytes = length
    if (length === 0) this.#readExtension(block, at)
    else this.#expect('extension', length + paddingOf(length))
  }

  #readExtension(bytes: Buffer, at: number): void {
    this.#headers.add(this.#extension, bytes, at, this.#extensionBytes)
    if (!this.#headers.isPending) this.#memberOffset = -1
    this.#expect('header', BLOCK_BYTES)
  }

  #startMember(type: string, block: Buffer, at: number): void {
    const { entry, stored, sparse } = this.#headers.resolve(type, block, at, this.#memberOffset)
    this.#name = entry.path
    this.#entry = entry
    this.#stored = stored
    this.#count(entry)
    if (sparse === null) {
      this.#startContent()
    } else if (sparse === 'header') {
      this.#oldSparse = []
      this.#mapBytes = 0
      if (readOldSparse(block, at, 'header', this.#oldSparse)) this.#expect('old-sparse', BLOCK_BYTES)
      else this.#startSparseContent(this.#oldSparse)
    } else if (sparse === 'data') {
      this.#sparseMap = new SparseMapReader()
      this.#mapBytes = 0
      this.#expectMapBlock()
    } else {
      this.#startSparseContent(sparse)
    }
  }

  #count(entry: TarEntry): void {
    const { maxEntries, maxFileBytes, maxTotalBytes } = this.#limits
    if (++this.#entries > maxEntries) throw tooMuch(`it is one more entry than the limit of ${maxEntries}`)
    if (entry.size > maxFileBytes) {
      throw tooMuch(`it has ${entry.size} bytes, the limit for one file is ${maxFileBytes}`, 'maxFileBytes')
    }
    this.#expandedBytes += entry.size
    if (this.#expandedBytes > maxTotalBytes) {
      const found = this.#expandedBytes
      throw tooMuch(`with it all files have ${found} bytes, the limit is ${maxTotalBytes}`, 'maxTotalBytes')
    }
  }

  #readOldSparseExtension(block: Buffer, at: number): void {
    this.#countMapBlock()
    if (!readOldSparse(block, at, 'extension', this.#oldSparse)) this.#startSparseContent(this.#oldSparse)
  }

  #expectMapBlock(): void {
    if (this.#stored < BLOCK_BYTES) throw invalid('its sparse map is longer than its data')
    this.#stored -= BLOCK_BYTES
    this.#expect('sparse-map', BLOCK_BYTES)
  }

  #readSparseMap(block: Buffer, at: number): void {
    this.#countMapBlock()
    if (this.#sparseMap.push(block, at)) this.#startSparseContent(this.#sparseMap.runs)
    else this.#expectMapBlock()
  }

  #countMapBlock(): void {
    this.#mapBytes += BLOCK_BYTES
    const max = this.#limits.maxHeaderBytes
    if (this.#mapBytes > max) throw tooMuch(`its sparse map has more than ${max} bytes`)
  }

  #startSparseContent(runs: FlatRuns): void {
    const entry = this.#entry!
    entry.sparse = checkRuns(runs, entry.size, this.#stored)
    this.#startContent()
  }

  #startContent(): void {
    this.#flushRaw()
    this.#contentLeft = this.#stored
    this.#paddingLeft = paddingOf(this.#stored)
    this.#state = 'content'
    this.#sink.entry(this.#entry!)
    if (this.#stored === 0) this.#endMember()
  }

  #endMember(): void {
    this.#sink.entryEnd()
    this.#entry = null
    if (this.#paddingLeft > 0) {
      this.#state = 'padding'
    } else {
      this.#endPadding()
    }
  }

  #endPadding(): void {
    this.#name = EMPTY
    this.#memberOffset = -1
    this.#expect('header', BLOCK_BYTES)
  }

  #finish(): void {
    const isBetween = this.#state === 'header' && this.#filled === 0 && !this.#headers.isPending
    if (this.#state === 'trailer' || (isBetween && (this.#zeroBlocks > 0 || this.#chunkOffset === 0))) return
    if (this.#state === 'content') {
      throw invalid(`the archive is cut, ${this.#contentLeft} bytes of its content are missing`)
    }
    if (isBetween) throw invalid('the archive is cut, it does not end with a block of zeros')
    throw invalid('the archive is cut inside its headers or padding')
  }

  /** Bytes of the tar up to where the reader is. */
  #offset(): number {
    return this.#chunkOffset + this.#at
  }
}

function paddingOf(length: number): number {
  return (BLOCK_BYTES - (length % BLOCK_BYTES)) % BLOCK_BYTES
}

function tooMuch(cause: string, limit: TarFault['limit'] = null): TarFault {
  return new TarFault('limit-exceeded', cause, limit)
}
