import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { AbortedError, RegistryError } from '../../../lib/errors.js'
import type { DroppedXattrs } from '../../../lib/layer/dropped-xattrs.js'
import { DEFAULT_LIMITS } from '../../../lib/layer/limits.js'
import { replayLayer } from '../../../lib/layer/replay.js'
import { layer } from '../../../lib/testkit/layer.js'
import type { LayerChange } from '../../../lib/tree/change.js'
import { CallerJobs } from '../../../lib/worker/caller-jobs.js'
import type { IngestJob } from '../../../lib/worker/jobs.js'
import { ingestJob, runIngest } from './ingest-job.js'

let directory: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'groot-caller-'))
  mkdirSync(`${directory}/objects`)
  mkdirSync(`${directory}/layers`)
})
afterEach(() => rmSync(directory, { recursive: true }))

const job = (tar: Uint8Array, name: string, blob = tar) => ingestJob(directory, tar, name, blob)
const run = runIngest

async function* stream(bytes: Uint8Array, chunk: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += chunk) yield bytes.subarray(at, at + chunk)
}

const sample = () => {
  const made = layer()
    .dir('etc')
    .hardlink('etc/hard', 'etc/file-7')
    .whiteout('gone')
    .symlink('link', '/etc/file-1')
  for (let i = 0; i < 100; i++) made.file(`etc/file-${i}`, Buffer.alloc(i * 997, `content ${i} `))
  return made.file('etc/large', Buffer.alloc(3_000_000, 'large ')).file('tiny', 'x').build()
}

describe('jobs on the thread that asks', () => {
  it.each([
    [1000, 'small pieces'],
    [16 * 1024, 'those of a connection'],
    [2 * 1024 * 1024, 'pieces that are larger than what is hashed at once'],
  ])('read a layer that comes in %i bytes: %s', async (chunk) => {
    const tar = sample()
    for (const blob of [tar, gzipSync(tar)]) {
      const name = `${blob.length}-${chunk}`
      const progress: number[] = []
      const result = await run(new CallerJobs(1, directory), job(tar, name, blob), {
        stream: stream(blob, chunk),
        onProgress: (bytes) => progress.push(bytes),
      })
      expect(result).toMatchObject({ entries: 106 })
      expect(readdirSync(`${directory}/layers`)).toContain(name)
      rmSync(`${directory}/layers/${name}`)
    }
  })

  it('tell what the layer does, as its record does', async () => {
    const tar = sample()
    const told: { changes: readonly LayerChange[]; dropped: DroppedXattrs }[] = []
    const recorded: string[] = []
    await run(new CallerJobs(1, directory), job(tar, 'told'), {
      stream: stream(tar, 5000),
      onChanges: (changes, dropped) => told.push({ changes, dropped }),
      onRecorded: () => recorded.push('recorded'),
    })
    expect(told.map(({ changes }) => changes)).toEqual([
      replayLayer(`${directory}/layers/told`, DEFAULT_LIMITS),
    ])
    expect(told[0]?.dropped.counts.size).toBe(0)
    // Who has the changes needs no record.
    expect(recorded).toEqual([])
  })

  it('tell nothing of a layer that is not what it should be', async () => {
    const tar = sample()
    const other = Buffer.from(tar)
    other[tar.length - 700] = 1 // behind its end, where no reader minds
    const told: string[] = []
    const options = { onChanges: () => told.push('changes'), onRecorded: () => told.push('recorded') }
    const wrong = run(new CallerJobs(1, directory), job(tar, 'wrong'), {
      stream: stream(other, 5000),
      ...options,
    })
    await expect(wrong).rejects.toMatchObject({ code: 'digest-mismatch' })
    const cut = run(new CallerJobs(1, directory), job(tar, 'cut'), {
      stream: stream(tar.subarray(0, 9000), 5000),
      ...options,
    })
    await expect(cut).rejects.toMatchObject({ code: 'size-mismatch' })
    const long = Buffer.concat([tar, Buffer.alloc(1)])
    const more = run(new CallerJobs(1, directory), job(tar, 'more'), {
      stream: stream(long, 5000),
      ...options,
    })
    await expect(more).rejects.toMatchObject({ code: 'size-mismatch' })
    expect(told).toEqual([])
    expect(readdirSync(`${directory}/objects`)).toEqual([])
    expect(readdirSync(`${directory}/layers`)).toEqual([])
  })

  it('fail as the stream fails, and say when they need no more of it', async () => {
    const broken = new RegistryError('registry-unreachable', 'Cannot go on: it is cut')
    const over: string[] = []
    const failing = (async function* () {
      yield sample().subarray(0, 5000)
      throw broken
    })()
    const running = run(new CallerJobs(1, directory), job(sample(), 'failing'), {
      stream: failing,
      onStreamOver: () => over.push('over'),
    })
    await expect(running).rejects.toBe(broken)
    expect(over).toEqual(['over'])
  })

  it('take turns, and go on after one that failed', async () => {
    const jobs = new CallerJobs(2, directory)
    const tar = sample()
    let reading = 0
    let most = 0
    const counted = async function* (bytes: Uint8Array) {
      most = Math.max(most, ++reading)
      try {
        for await (const piece of stream(bytes, 50_000)) {
          await new Promise(setImmediate)
          yield piece
        }
      } finally {
        reading--
      }
    }
    const all = Array.from({ length: 7 }, (_, i) =>
      run(jobs, job(tar, `turn-${i}`), { stream: counted(i % 3 === 1 ? tar.subarray(0, 60_000) : tar) }),
    )
    const ended = await Promise.allSettled(all)
    expect(ended.map(({ status }) => status === 'fulfilled')).toEqual([
      true,
      false,
      true,
      true,
      false,
      true,
      true,
    ])
    expect(most).toBeLessThanOrEqual(2)
  })

  it('end when they are aborted, also while they wait for their turn', async () => {
    const jobs = new CallerJobs(1, directory)
    const controller = new AbortController()
    const silent = (async function* () {
      yield sample().subarray(0, 5000)
      await new Promise((_, reject) =>
        controller.signal.addEventListener('abort', () => reject(new AbortedError()), { once: true }),
      )
    })()
    const first = run(jobs, job(sample(), 'aborted'), { stream: silent, signal: controller.signal })
    const second = run(jobs, job(sample(), 'waiting'), {
      stream: stream(sample(), 999),
      signal: controller.signal,
    })
    setTimeout(() => controller.abort(), 50)
    await expect(first).rejects.toBeInstanceOf(AbortedError)
    await expect(second).rejects.toBeInstanceOf(AbortedError)
    await run(jobs, job(sample(), 'after'), { stream: stream(sample(), 9999) })
  })

  it('read files too', async () => {
    const tar = sample()
    writeFileSync(`${directory}/blob`, tar)
    const ingest: IngestJob = {
      ...job(tar, 'file'),
      blob: { kind: 'file', path: `${directory}/blob`, offset: 0, length: tar.length },
    }
    expect(await run(new CallerJobs(1, directory), ingest, {})).toMatchObject({ entries: 106 })
  })
})
