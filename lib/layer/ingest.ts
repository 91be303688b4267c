/**
 * Ingest: a layer's blob becomes objects and a layer record.
 *
 * Bytes pass once: size and digest of the blob, decompression, diff id, tar reader, policy, contents to staging. Only
 * when all of it is verified are the objects published and, as the commit point, the record. Contents that the store has
 * are used as they are; clean may take them away until the record is announced (store/publishing.ts). Runs on an ingest
 * thread, or where the operation does (worker/caller-jobs.ts).
 */
import { closeSync, constants, fstatSync, mkdirSync, openSync, readSync, renameSync, rmSync } from 'node:fs'
import { algorithmOf, type DiffId, type Digest, encodedOf, shortDigest } from '../digest.js'
import { ImageError, IntegrityError } from '../errors.js'
import { syncDirectory } from '../linux/sync.js'
import { readGeneration } from '../store/generation.js'
import { stagedRecord } from '../store/publishing.js'
import type { LayerChange } from '../tree/change.js'
import { type Content, NO_CONTENT } from '../tree/model.js'
import { type Compression, decompress } from './decompress.js'
import { DroppedXattrs } from './dropped-xattrs.js'
import type { TarEntry } from './entry.js'
import { LayerPolicy } from './layer-policy.js'
import type { LayerLimits } from './limits.js'
import { TarReader, type TarSink } from './read-tar.js'
import { RecordWriter, readRecord } from './record.js'
import { StagedObjects } from './staged-objects.js'
import { StreamHash } from './stream-hash.js'

export interface IngestRequest {
  /** What the blob must be. */
  readonly digest: Digest
  readonly size: number
  readonly compression: Compression
  readonly diffId: DiffId
  /** The store's `objects/`. */
  readonly objects: string
  /** Where the layer record goes. */
  readonly record: string
  /** This ingest's own directory, not made yet, on the store's filesystem. */
  readonly staging: string
  /** Where the record stands while objects are published; `announce` puts it there from `stagedRecord(staging)`. */
  readonly announced: string
  /** The store's generation file. */
  readonly generation: string
  /** Whether contents that the store has are used as they are; else all are written. */
  readonly reuse: boolean
  /** How many of the kernel's threads may write contents. */
  readonly writers: number
  readonly limits: LayerLimits
  /** False for a store whose owner does without: see lib/linux/sync.ts. */
  readonly sync: boolean
  /**
   * Whether the store's filesystem keeps the order of metadata (lib/linux/ordered-metadata.ts). Then nothing is synced after the
   * contents, and all is durable as soon as any later change of the store is: that is the caller's to see to.
   */
  readonly isOrdered: boolean
}

export interface IngestHooks {
  /** Bytes of the blob read so far, now and then. */
  progress(bytes: number): void
  /** There is a further block of the record in the staging directory; nothing of it is verified yet. */
  recording(): void
  /** The layer is verified and its record whole, in its staging directory; contents are not published yet. */
  recorded(): void
  /** With it, where somebody wants it: what the record will give when it is replayed. */
  readonly changes?: ((changes: readonly LayerChange[], dropped: DroppedXattrs) => void) | undefined
  /** Syncs the filesystem that a descriptor is on, and lets others work meanwhile. */
  syncFilesystem(fd: number): Promise<void>
  /** Puts the staged record where clean sees it, under the gc lock. @returns the generation then */
  announce(): Promise<string>
}

export interface IngestResult {
  readonly entries: number
  readonly newObjects: number
  readonly newBytes: number
}

const CHUNK_BYTES = 2 * 1024 * 1024
const PROGRESS_BYTES = 4 * 1024 * 1024

/**
 * Reads one layer. On any error nothing is published; the staging directory is the caller's to remove.
 *
 * @param blob the blob's bytes
 * @returns null when contents that were to be used have been taken away meanwhile: read the layer again, without reuse
 * @throws {IntegrityError} `size-mismatch`, `digest-mismatch`, `diff-id-mismatch`
 * @throws {ImageError} for what the tar reader and the policy refuse
 */
export async function ingestLayer(
  request: IngestRequest,
  blob: AsyncIterable<Uint8Array>,
  hooks: IngestHooks,
): Promise<IngestResult | null> {
  mkdirSync(request.staging, { mode: 0o700 })
  // Before the first look at what the store has.
  const generation = readGeneration(request.generation)
  const fd = openSync(stagedRecord(request.staging), 'wx', 0o600)
  try {
    using objects = new StagedObjects(request.objects, request.staging, request.reuse, request.writers)
    const isCollecting = hooks.changes !== undefined
    const ingest = new Ingest(
      new RecordWriter(fd, () => hooks.recording()),
      objects,
      request.limits,
      isCollecting,
    )
    await readLayer(request, blob, hooks, ingest)
    ingest.end()
    objects.settle()
    hooks.changes?.(ingest.changes, ingest.dropped)
    hooks.recorded()
    // One sync for all new objects and the record; an fsync each costs a thousand times as much.
    await hooks.syncFilesystem(fd)
    if (!(await publish(request, objects, generation, hooks))) return null
    return { entries: ingest.entries, newObjects: objects.count, newBytes: objects.bytes }
  } finally {
    closeSync(fd)
  }
}

/** Reads the blob to its end, and sees that it and what is in it are what they should be. */
async function readLayer(
  request: IngestRequest,
  blob: AsyncIterable<Uint8Array>,
  hooks: IngestHooks,
  ingest: Ingest,
): Promise<void> {
  await using bytes = new VerifiedBlob(blob, request, hooks.progress)
  await using diff = await StreamHash.of(algorithmOf(request.diffId))
  try {
    for await (const chunk of decompress(bytes, request.compression)) {
      diff.update(chunk)
      ingest.reader.write(chunk)
      await diff.ready()
    }
    ingest.reader.end()
  } catch (error) {
    // Altered bytes look like a malformed archive first: whose fault it is, the digest of the whole says.
    if (error instanceof ImageError) await bytes.drain()
    throw error
  }
  const found = await diff.digest()
  if (found !== encodedOf(request.diffId)) throw wrongDiffId(request, found)
}

/** @param generation that of before the layer was read @returns false when contents are gone that were to be used */
async function publish(
  request: IngestRequest,
  objects: StagedObjects,
  generation: string,
  hooks: IngestHooks,
): Promise<boolean> {
  const { announced, record, reuse, isOrdered } = request
  let isCommitted = false
  try {
    const now = await hooks.announce()
    // From here on nothing is taken away that the record names, so what is there now stays.
    if (reuse && now !== generation && !hasAll(announced, objects)) return false
    const touched = objects.publish()
    if (!isOrdered) for (const directory of touched) syncDirectory(directory)
    // commit point: the layer record
    renameSync(announced, record)
    isCommitted = true
  } finally {
    if (!isCommitted) rmSync(announced, { force: true })
  }
  if (!isOrdered) syncDirectory(record.slice(0, record.lastIndexOf('/')))
  return true
}

function hasAll(record: string, objects: StagedObjects): boolean {
  let all = true
  readRecord(record, {
    raw: () => {},
    content: (content) => {
      if (all && content.kind === 'object') all = objects.has(content.digest)
    },
  })
  return all
}

/** The bytes of a region of a file, 2 MiB at a time. A yielded chunk is valid until the next is asked for. */
export async function* fileChunks(path: string, offset: number, length: number): AsyncGenerator<Uint8Array> {
  // Not blocking, and looked at again: what was a file when the source found it may be a fifo by now.
  const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
  try {
    if (!fstatSync(fd).isFile()) throw changed(path)
    const buffer = Buffer.allocUnsafe(Math.min(CHUNK_BYTES, Math.max(length, 1)))
    for (let at = 0; at < length; ) {
      const count = readSync(fd, buffer, 0, Math.min(buffer.length, length - at), offset + at)
      if (count === 0) return // shorter than promised: whoever verifies the size says so
      at += count
      yield buffer.subarray(0, count)
    }
  } finally {
    closeSync(fd)
  }
}

/** A blob that passes on while its size and digest are taken. Its end throws when they are others. */
class VerifiedBlob implements AsyncIterable<Uint8Array>, AsyncDisposable {
  readonly #chunks: AsyncGenerator<Uint8Array>

  constructor(blob: AsyncIterable<Uint8Array>, request: IngestRequest, onProgress: (bytes: number) => void) {
    this.#chunks = verifyBlob(blob, request, onProgress)
  }

  /** Whoever stops reading before the end does not close the blob, so that it can be drained. */
  [Symbol.asyncIterator](): AsyncIterator<Uint8Array> {
    return { next: () => this.#chunks.next() }
  }

  /** Reads what is left. @throws {IntegrityError} when the whole is not what it should be */
  async drain(): Promise<void> {
    while ((await this.#chunks.next()).done !== true);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#chunks.return(undefined)
  }
}

async function* verifyBlob(
  blob: AsyncIterable<Uint8Array>,
  request: IngestRequest,
  onProgress: (bytes: number) => void,
): AsyncGenerator<Uint8Array> {
  await using hash = await StreamHash.of(algorithmOf(request.digest))
  let size = 0
  let reported = 0
  for await (const chunk of blob) {
    size += chunk.length
    if (size > request.size) throw wrongSize(request, size)
    hash.update(chunk)
    if (size - reported >= PROGRESS_BYTES) {
      reported = size
      onProgress(size)
    }
    yield chunk
    await hash.ready()
  }
  if (size !== request.size) throw wrongSize(request, size)
  const found = await hash.digest()
  if (found !== encodedOf(request.digest)) {
    throw new IntegrityError(
      'digest-mismatch',
      `Cannot accept layer ${shortDigest(request.digest)}: its bytes hash to ${found.slice(0, 12)}`,
      { facts: { expected: request.digest, found: `${algorithmOf(request.digest)}:${found}`, bytes: size } },
    )
  }
}

/** What the tar reader tells, written to the record and to staging. */
class Ingest implements TarSink {
  readonly reader: TarReader
  entries = 0
  /** What the members do to the tree, when that is wanted. */
  readonly changes: LayerChange[] = []
  /** With them. */
  readonly dropped = new DroppedXattrs()
  readonly #record: RecordWriter
  readonly #objects: StagedObjects
  readonly #policy: LayerPolicy
  readonly #isCollecting: boolean
  #inContent = false
  /** What the member whose content is being read does. */
  #change: LayerChange | null = null

  constructor(record: RecordWriter, objects: StagedObjects, limits: LayerLimits, isCollecting: boolean) {
    this.#record = record
    this.#objects = objects
    this.#policy = new LayerPolicy(limits, ({ name }) => this.dropped.add(name))
    this.#isCollecting = isCollecting
    this.reader = new TarReader(this, limits)
  }

  raw(bytes: Uint8Array): void {
    this.#record.raw(bytes)
  }

  entry(entry: TarEntry): void {
    // Refuses early, before anything of the member is written.
    const change = this.#policy.apply(entry, NO_CONTENT)
    this.entries++
    if (entry.size === 0) return this.#collect(change)
    this.#change = change
    this.#inContent = true
    this.#objects.begin(entry.size, entry.sparse)
  }

  content(bytes: Uint8Array): void {
    this.#objects.write(bytes)
  }

  entryEnd(): void {
    if (!this.#inContent) return
    this.#inContent = false
    const content = this.#objects.finish()
    this.#record.content(content)
    if (this.#isCollecting) this.#collect(withContent(this.#change, content))
    this.#change = null
  }

  end(): void {
    this.#record.end()
  }

  #collect(change: LayerChange | null): void {
    if (this.#isCollecting && change !== null) this.changes.push(change)
  }
}

/** The same, for the content that the member turned out to have. */
function withContent(change: LayerChange | null, content: Content): LayerChange | null {
  if (change?.kind !== 'inode' || change.inode.kind !== 'file') return change
  return { ...change, inode: { ...change.inode, content } }
}

function wrongSize(request: IngestRequest, found: number): IntegrityError {
  const what = found > request.size ? 'more' : `only ${found}`
  return new IntegrityError(
    'size-mismatch',
    `Cannot accept layer ${shortDigest(request.digest)}: it has ${what} bytes, its descriptor says ${request.size}`,
    { facts: { digest: request.digest, expected: request.size, found } },
  )
}

function wrongDiffId(request: IngestRequest, found: string): IntegrityError {
  return new IntegrityError(
    'diff-id-mismatch',
    `Cannot accept layer ${shortDigest(request.digest)}: its plain bytes hash to ${found.slice(0, 12)}, the config says ${shortDigest(request.diffId)}`,
    {
      facts: {
        digest: request.digest,
        expected: request.diffId,
        found: `${algorithmOf(request.diffId)}:${found}`,
      },
    },
  )
}

function changed(path: string): IntegrityError {
  return new IntegrityError('source-changed', `Cannot read "${path}": it is not a regular file any more`, {
    facts: { path },
  })
}

/** An error that names the layer which an entry stands in. */
export function inLayer(error: unknown, digest: Digest): unknown {
  if (!(error instanceof ImageError)) return error
  return new ImageError(error.code as never, `${error.message}, in layer ${shortDigest(digest)}`, {
    facts: { ...error.facts, layer: digest },
    cause: error.cause ?? error,
  })
}
