/**
 * What ingest threads do, as plain data: a job goes in, a result comes out. See pool.ts for who sends them.
 */

import type { DiffId, VerityDigest } from '../digest.js'
import { isVerityDigest } from '../digest.js'
import { isErrno, isGrootError } from '../errors.js'
import {
  fileChunks,
  type IngestHooks,
  type IngestRequest,
  type IngestResult,
  ingestLayer,
  inLayer,
} from '../layer/ingest.js'
import type { LayerLimits } from '../layer/limits.js'
import { verifyLayer, verifyObject } from '../layer/verify.js'
import { namesIn } from '../linux/names.js'
import { hashBlocksTogether } from '../linux/sha256-lanes.js'
import { withoutSyncs } from '../linux/sync-mode.js'
import { objectReader } from '../store/objects.js'

export type BlobInput =
  | { readonly kind: 'file'; readonly path: string; readonly offset: number; readonly length: number }
  | { readonly kind: 'stream' }

export interface IngestJob {
  readonly kind: 'ingest'
  readonly request: IngestRequest
  readonly blob: BlobInput
}

export interface VerifyLayerJob {
  readonly kind: 'verify-layer'
  readonly record: string
  readonly diffId: DiffId
  readonly objects: string
  readonly limits: LayerLimits
}

/** All objects whose digests begin with two given hex digits. */
export interface VerifyObjectsJob {
  readonly kind: 'verify-objects'
  readonly objects: string
  readonly prefix: string
}

export type Job = IngestJob | VerifyLayerJob | VerifyObjectsJob

export interface DamagedObject {
  readonly name: string
  readonly code: string
  readonly message: string
}

export interface VerifyObjectsResult {
  readonly objects: number
  readonly bytes: number
  readonly damaged: readonly DamagedObject[]
}

export interface JobResults {
  /** Null: read the layer again, see ingestLayer. */
  readonly ingest: IngestResult | null
  readonly 'verify-layer': { readonly bytes: number }
  readonly 'verify-objects': VerifyObjectsResult
}

/** What a job has of the outside. */
export interface JobContext {
  /** The blob of an ingest whose input is a stream. */
  readonly stream: AsyncIterable<Uint8Array>
  progress(bytes: number): void
  /** Of an ingest: there is a further block of its record. */
  recording(): void
  /** Of an ingest: its record is whole. */
  recorded(): void
  /** Of an ingest, where somebody wants it: what the record will give. */
  readonly changes?: IngestHooks['changes'] | undefined
  /** Of an ingest: syncs the filesystem that a descriptor is on, and lets others work meanwhile. */
  syncFilesystem(fd: number): Promise<void>
  /** Of an ingest: asks the pool's side to announce the record. @returns the generation of `objects/` then */
  announce(): Promise<string>
  /** Throws when the job was aborted; asked often. */
  checkAborted(): void
}

export async function runJob(job: Job, context: JobContext): Promise<JobResults[Job['kind']]> {
  switch (job.kind) {
    case 'ingest':
      return await runIngest(job, context)
    case 'verify-layer':
      return { bytes: verifyLayer(job.record, job.diffId, objectReader(job.objects), job.limits) }
    case 'verify-objects':
      hashBlocksTogether()
      return verifyObjects(job, context)
    default:
      return job satisfies never
  }
}

async function runIngest({ request, blob }: IngestJob, context: JobContext): Promise<IngestResult | null> {
  hashBlocksTogether()
  const chunks = blob.kind === 'file' ? fileChunks(blob.path, blob.offset, blob.length) : context.stream
  try {
    const ingest = () => ingestLayer(request, interruptible(chunks, context), context)
    return await (request.sync ? ingest() : withoutSyncs(ingest))
  } catch (error) {
    throw inLayer(error, request.digest)
  }
}

async function* interruptible(
  chunks: AsyncIterable<Uint8Array>,
  context: JobContext,
): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks) {
    context.checkAborted()
    yield chunk
  }
}

function verifyObjects({ objects, prefix }: VerifyObjectsJob, context: JobContext): VerifyObjectsResult {
  const reader = objectReader(objects)
  const damaged: DamagedObject[] = []
  let count = 0
  let bytes = 0
  for (const rest of namesIn(`${objects}/${prefix}`).sort()) {
    context.checkAborted()
    const name = `${prefix}${rest}`
    if (!isVerityDigest(name)) {
      damaged.push({
        name,
        code: 'object-damaged',
        message: `Cannot trust object ${JSON.stringify(name)}: its name is not a digest`,
      })
      continue
    }
    count++
    try {
      bytes += verifyObject(reader.path(name), name as VerityDigest)
    } catch (error) {
      // Clean took it away.
      if (isErrno(error, 'ENOENT')) continue
      // One damaged or unreadable object never stops the check of the rest.
      if (!isGrootError(error) && !isErrno(error)) throw error
      const code = isGrootError(error) ? error.code : 'object-damaged'
      damaged.push({
        name,
        code,
        message: isGrootError(error) ? error.message : `Cannot read object ${name}: ${error.message}`,
      })
    }
  }
  return { objects: count, bytes, damaged }
}
