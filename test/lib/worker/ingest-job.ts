/**
 * What tests of those who carry out jobs share: an ingest into a directory of the test, announced as operations do it, but
 * without a lock.
 */
import { renameSync } from 'node:fs'
import { type DiffId, sha256 } from '../../../lib/digest.js'
import type { IngestResult } from '../../../lib/layer/ingest.js'
import { DEFAULT_LIMITS } from '../../../lib/layer/limits.js'
import { readGeneration } from '../../../lib/store/generation.js'
import type { IngestJob } from '../../../lib/worker/jobs.js'
import type { JobRunner, RunOptions } from '../../../lib/worker/pool.js'

/** @param blob the tar by gzip, where it is not the tar itself */
export function ingestJob(directory: string, tar: Uint8Array, name: string, blob = tar): IngestJob {
  return {
    kind: 'ingest',
    blob: { kind: 'stream' },
    request: {
      digest: sha256(blob),
      size: blob.length,
      compression: blob === tar ? 'none' : 'gzip',
      diffId: sha256(tar) as DiffId,
      objects: `${directory}/objects`,
      record: `${directory}/layers/${name}`,
      staging: `${directory}/staging-${name}`,
      announced: `${directory}/announced-${name}`,
      generation: `${directory}/generation`,
      reuse: true,
      writers: 2,
      limits: DEFAULT_LIMITS,
      sync: true,
      isOrdered: false,
    },
  }
}

const signal = new AbortController().signal

export function runIngest(
  on: JobRunner,
  ingest: IngestJob,
  options: Partial<RunOptions>,
): Promise<IngestResult | null> {
  const { staging, announced, generation } = ingest.request
  const announce = async () => {
    renameSync(`${staging}/record`, announced)
    return readGeneration(generation)
  }
  return on.run(ingest, { signal, announce, ...options })
}
