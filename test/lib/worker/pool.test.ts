import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { BusyError, RegistryError } from '../../../lib/errors.js'
import { layer } from '../../../lib/testkit/layer.js'
import { WorkerPool } from '../../../lib/worker/pool.js'
import { ingestJob, runIngest } from './ingest-job.js'

let directory: string
let pool: WorkerPool
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'groot-pool-'))
  mkdirSync(`${directory}/objects`)
  mkdirSync(`${directory}/layers`)
  pool = new WorkerPool(2)
})
afterEach(async () => {
  await pool.close()
  rmSync(directory, { recursive: true })
})

const job = (tar: Uint8Array, name: string) => ingestJob(directory, tar, name)
const run = runIngest
const signal = new AbortController().signal

const tar = (name: string, bytes = 100_000) => layer().file(name, Buffer.alloc(bytes, name)).build()

async function* stream(bytes: Uint8Array, chunk = 64 * 1024): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += chunk) yield bytes.subarray(at, at + chunk)
}

describe('the pool of ingest threads', () => {
  it('runs more jobs than it has threads', async () => {
    const names = Array.from({ length: 7 }, (_, i) => `layer${i}`)
    const results = await Promise.all(
      names.map((name) => run(pool, job(tar(name), name), { signal, stream: stream(tar(name)) })),
    )
    expect(results.map((result) => result?.newObjects)).toEqual(names.map(() => 1))
    expect(readdirSync(`${directory}/layers`).sort()).toEqual(names)
  })

  it('uses a thread that was started beforehand, and starts another where that has ended', async () => {
    const threads = () => readdirSync('/proc/self/task').length
    pool.warm()
    pool.warm()
    const before = threads()
    const made = await run(pool, job(tar('a'), 'a'), { signal, stream: stream(tar('a')) })
    expect([made?.newObjects, threads()]).toEqual([1, before])
    pool.trim()
    pool.warm()
    pool.trim()
    const again = await run(pool, job(tar('b'), 'b'), { signal, stream: stream(tar('b')) })
    expect(again?.newObjects).toBe(1)
  })

  it('is never far behind a stream', async () => {
    const whole = tar('big', 32 * 1024 * 1024)
    let sent = 0
    let read = 0
    let ahead = 0
    const watched = (async function* () {
      for await (const chunk of stream(whole)) {
        sent += chunk.length
        ahead = Math.max(ahead, sent - read)
        yield chunk
      }
    })()
    await run(pool, job(whole, 'big'), {
      signal,
      stream: watched,
      onProgress: (bytes) => {
        read = bytes
      },
    })
    expect(sent).toBe(whole.length)
    expect(ahead).toBeLessThan(16 * 1024 * 1024)
  })

  it('fails with the error of the stream, whole', async () => {
    const broken = (async function* () {
      yield tar('a').subarray(0, 1000)
      throw new RegistryError('blob-cut', 'Cannot read blob', { facts: { at: 1000 }, temporary: true })
    })()
    await expect(run(pool, job(tar('a'), 'a'), { signal, stream: broken })).rejects.toMatchObject({
      code: 'blob-cut',
      facts: { at: 1000 },
      temporary: true,
    })
    const again = await run(pool, job(tar('a'), 'b'), { signal, stream: stream(tar('a')) })
    expect(again?.newObjects).toBe(1)
  })

  it('stops asking a stream when the job has failed, and says so to who waits for it', async () => {
    let over = false
    const endless = (async function* () {
      yield Buffer.alloc(1_000_000, 'longer than was said')
      while (!over) await new Promise((resolve) => setTimeout(resolve, 5))
    })()
    const running = run(pool, job(tar('a'), 'a'), {
      signal,
      stream: endless,
      onStreamOver: () => {
        over = true
      },
    })
    await expect(running).rejects.toMatchObject({ code: 'size-mismatch' })
    expect(over).toBe(true)
  })

  it('fails with the error of whoever was to announce the record, and publishes nothing', async () => {
    const busy = new BusyError('lock-timeout', 'Cannot take lock "gc"', { facts: { lock: 'gc' } })
    const announce = () => Promise.reject(busy)
    const running = pool.run(job(tar('a'), 'a'), { signal, stream: stream(tar('a')), announce })
    await expect(running).rejects.toMatchObject({ code: 'lock-timeout', facts: { lock: 'gc' } })
    expect([readdirSync(`${directory}/layers`), readdirSync(`${directory}/objects`)]).toEqual([[], []])
  })

  it('ends a job that waits for a stream when it is aborted', async () => {
    const controller = new AbortController()
    const stalled = (async function* () {
      yield tar('a').subarray(0, 1000)
      await new Promise((resolve) => controller.signal.addEventListener('abort', resolve))
    })()
    const running = run(pool, job(tar('a'), 'a'), { signal: controller.signal, stream: stalled })
    setTimeout(() => controller.abort(), 50)
    await expect(running).rejects.toMatchObject({ code: 'aborted', exitStatus: 130 })
    expect(readdirSync(`${directory}/layers`)).toEqual([])
  })

  it('does not begin a job that was aborted while it waited', async () => {
    const one = new WorkerPool(1)
    try {
      const controller = new AbortController()
      let release = () => {}
      const held = (async function* () {
        await new Promise<void>((resolve) => {
          release = resolve
        })
        yield tar('a')
      })()
      const first = run(one, job(tar('a'), 'a'), { signal, stream: held })
      const second = run(one, job(tar('b'), 'b'), { signal: controller.signal, stream: stream(tar('b')) })
      controller.abort()
      await expect(second).rejects.toMatchObject({ code: 'aborted' })
      release()
      expect((await first)?.newObjects).toBe(1)
    } finally {
      await one.close()
    }
  })
})
