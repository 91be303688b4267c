import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { verityDigest } from '../../../lib/composefs/verity.js'
import { type DiffId, sha256, type VerityDigest } from '../../../lib/digest.js'
import { type IngestRequest, ingestLayer } from '../../../lib/layer/ingest.js'
import { DEFAULT_LIMITS } from '../../../lib/layer/limits.js'
import { readRecord } from '../../../lib/layer/record.js'
import { replayLayer } from '../../../lib/layer/replay.js'
import { verifyLayer, verifyObject } from '../../../lib/layer/verify.js'
import { raiseGeneration, readGeneration } from '../../../lib/store/generation.js'
import { objectReader } from '../../../lib/store/objects.js'
import { layer } from '../../../lib/testkit/layer.js'
import { linesOfTree } from '../../../lib/testkit/lines-of-tree.js'
import { mergeLayers } from '../../../lib/tree/merge.js'
import { ingestJob } from '../worker/ingest-job.js'

let directory: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'groot-ingest-'))
  mkdirSync(`${directory}/objects`)
  mkdirSync(`${directory}/layers`)
})
afterEach(() => rmSync(directory, { recursive: true }))

let count = 0

async function ingest(
  tar: Uint8Array,
  change: Partial<IngestRequest> = {},
  blob: Uint8Array = tar,
  chunkBytes = 777,
  meanwhile?: () => void,
) {
  const request: IngestRequest = {
    ...ingestJob(directory, tar, String(++count), blob).request,
    compression: 'none',
    record: `${directory}/layers/${sha256(tar).replace(':', '-')}`,
    writers: 1,
    ...change,
  }
  const announce = async () => {
    meanwhile?.()
    renameSync(`${request.staging}/record`, request.announced)
    return readGeneration(request.generation)
  }
  const recorded = () => {
    // Whole, and not public yet.
    readRecord(`${request.staging}/record`, { raw: () => {}, content: () => {} })
    expect(existsSync(request.announced)).toBe(false)
    recordedCount++
  }
  const syncFilesystem = async () => {}
  const hooks = { progress: () => {}, recording: () => {}, recorded, syncFilesystem, announce }
  const result = await ingestLayer(request, chunksOf(blob, chunkBytes), hooks)
  return { ...result, isRead: result !== null, record: request.record, diffId: request.diffId }
}

let recordedCount = 0

async function* chunksOf(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  // One buffer for all chunks: whoever keeps a view of a chunk keeps rubbish.
  const buffer = Buffer.alloc(size)
  for (let at = 0; at < bytes.length; at += size) {
    const part = bytes.subarray(at, at + size)
    buffer.set(part)
    yield buffer.subarray(0, part.length)
  }
}

const objects = () => objectReader(`${directory}/objects`)
const objectNames = () =>
  readdirSync(`${directory}/objects`)
    .flatMap((prefix) => readdirSync(`${directory}/objects/${prefix}`).map((rest) => prefix + rest))
    .sort()
const tree = (record: string) =>
  linesOfTree(mergeLayers([replayLayer(record, DEFAULT_LIMITS)], DEFAULT_LIMITS).tree, objects())

const LARGE = Buffer.alloc(3_000_000, 'large content ')
const MEDIUM = Buffer.alloc(5_000, 'medium ')
const sample = () =>
  layer()
    .dir('etc')
    .file('etc/large', LARGE)
    .file('etc/medium', MEDIUM)
    .file('etc/again', MEDIUM)
    .file('etc/tiny', 'x'.repeat(64))
    .file('etc/just-more', 'x'.repeat(65))
    .file('etc/empty')
    .hardlink('etc/hard', 'etc/medium')
    .symlink('link', '/etc/large')
    .char('null', 1, 3)
    .fifo('fifo')
    .whiteout('gone')

describe('an ingest', () => {
  it('stores each content once, as an object under its fs-verity digest, and tiny ones in the record', async () => {
    const result = await ingest(sample().build())
    const expected = [LARGE, MEDIUM, Buffer.from('x'.repeat(65))].map((bytes) => verityDigest(bytes)).sort()
    expect(objectNames()).toEqual(expected)
    expect({ ...result, record: null, diffId: null }).toEqual({
      entries: 12,
      newObjects: 3,
      newBytes: 3_000_000 + 5_000 + 65,
      isRead: true,
      record: null,
      diffId: null,
    })
    for (const digest of expected) expect(statSync(objects().path(digest)).mode & 0o7777).toBe(0o444)
  })

  it('gives the same tree and the same tar again, whatever the compression and the chunks', async () => {
    const tar = sample().build()
    const plain = await ingest(tar)
    const lines = tree(plain.record)
    expect(lines).toHaveLength(12)
    for (const [compression, blob, chunk] of [
      ['none', tar, 1 << 20],
      ['gzip', gzipSync(tar), 100],
      ['gzip', gzipSync(tar), 1 << 20],
    ] as const) {
      rmSync(plain.record)
      const again = await ingest(tar, { compression }, blob, chunk)
      expect(again.newObjects).toBe(0)
      expect(tree(again.record)).toEqual(lines)
      expect(verifyLayer(again.record, again.diffId, objects(), DEFAULT_LIMITS)).toBe(tar.length)
    }
  })

  it.each(['old', '0.0', '0.1', '1.0'] as const)(
    'expands sparse files of form %s, and gives the condensed tar again',
    async (form) => {
      const size = 3_000_000
      const runs = [
        [4096, Buffer.alloc(512, 'a')],
        [2_000_000, Buffer.alloc(1024, 'b')],
      ] as const
      const small = [[512, Buffer.alloc(512, 'c')]] as const
      const tar = layer()
        .sparse('big', { size, runs }, form)
        .sparse('small', { size: 2048, runs: small }, form)
        .sparse('hole', { size: 100_000, runs: [] }, form)
        .file('after', 'after')
        .build()
      const { record, diffId } = await ingest(tar)
      const expanded = Buffer.alloc(size)
      for (const [offset, data] of runs) expanded.set(data, offset)
      const expandedSmall = Buffer.alloc(2048)
      expandedSmall.set(small[0][1], 512)
      expect(objectNames()).toEqual(
        [expanded, expandedSmall, Buffer.alloc(100_000)].map((bytes) => verityDigest(bytes)).sort(),
      )
      expect(readFileSync(objects().path(verityDigest(expanded))).equals(expanded)).toBe(true)
      expect(verifyLayer(record, diffId, objects(), DEFAULT_LIMITS)).toBe(tar.length)
    },
  )

  it('says when the record is whole: once, and only of a layer that is what it should be', async () => {
    const before = recordedCount
    await expect(
      ingest(sample().build(), { diffId: sha256(Buffer.from('other')) as DiffId }),
    ).rejects.toMatchObject({
      code: 'diff-id-mismatch',
    })
    expect(recordedCount).toBe(before)
    await ingest(sample().build())
    expect(recordedCount).toBe(before + 1)
  })

  it('keeps holes of large sparse files as holes', async () => {
    const size = 64 * 1024 * 1024
    await ingest(
      layer()
        .sparse('s', { size, runs: [[4096, Buffer.alloc(512, 'a')]] }, '1.0')
        .build(),
    )
    const [name] = objectNames()
    const stat = statSync(objects().path(name as VerityDigest))
    expect([stat.size, stat.blocks * 512 < 1024 * 1024]).toEqual([size, true])
  })

  it.each([
    ['at their end', [[0, 1]]],
    ['at their beginning', [[5_999_999, 1]]],
    [
      'between their data',
      [
        [0, 3],
        [2_000_000, 70_000],
        [5_000_000, 1],
      ],
    ],
    ['altogether', []],
  ] as const)('makes holes of the zeros of large files, %s', async (_, data) => {
    const bytes = Buffer.alloc(6_000_000)
    for (const [at, length] of data) bytes.fill('x', at, at + length)
    // Pieces begin anywhere: in front of it stands a file of an odd length.
    const tar = layer().file('a', 'a'.repeat(777)).file('s', bytes).build()
    const { record, diffId } = await ingest(tar, {}, tar, 1_000_000)
    const path = objects().path(verityDigest(bytes))
    expect(readFileSync(path).equals(bytes)).toBe(true)
    expect(statSync(path).blocks * 512).toBeLessThan(600_000)
    expect(verifyLayer(record, diffId, objects(), DEFAULT_LIMITS)).toBe(tar.length)
  })

  it('keeps what follows the end of the archive in the record and nowhere else', async () => {
    const tar = Buffer.concat([layer().file('a', 'a').build(), layer().file('evil', 'evil').build()])
    const { record, diffId } = await ingest(tar)
    expect(tree(record).map((line) => line.split(' ')[0])).toEqual(['.', 'a'])
    expect(verifyLayer(record, diffId, objects(), DEFAULT_LIMITS)).toBe(tar.length)
  })

  describe('publishes nothing', () => {
    const tar = () => sample().build()
    const other = sha256(Buffer.from('other')) as DiffId

    it.each([
      ['when the blob has another digest', { digest: other }, 'digest-mismatch'],
      ['when the blob is longer than its descriptor says', { size: 1000 }, 'size-mismatch'],
      ['when the blob is shorter than its descriptor says', { size: 1 << 30 }, 'size-mismatch'],
      ['when the tar is another than the config says', { diffId: other }, 'diff-id-mismatch'],
      ['when the blob is not compressed as declared', { compression: 'gzip' }, 'compression-invalid'],
      [
        'when a file is over the limit',
        { limits: { ...DEFAULT_LIMITS, maxFileBytes: 1000 } },
        'limit-exceeded',
      ],
      ['when there are too many entries', { limits: { ...DEFAULT_LIMITS, maxEntries: 3 } }, 'limit-exceeded'],
    ] as const)('%s', async (_, change, code) => {
      await expect(ingest(tar(), change)).rejects.toMatchObject({ code })
      expect([readdirSync(`${directory}/objects`), readdirSync(`${directory}/layers`)]).toEqual([[], []])
    })

    it.each([100, 700, 6_000, 3_010_000])('when the tar is cut after %d bytes', async (length) => {
      await expect(ingest(tar().subarray(0, length))).rejects.toMatchObject({ code: 'tar-invalid' })
      expect([readdirSync(`${directory}/objects`), readdirSync(`${directory}/layers`)]).toEqual([[], []])
    })

    it('when an entry is refused', async () => {
      const hostile = layer()
        .file('ok', LARGE)
        .file(Buffer.from('a'.repeat(300)), 'x')
        .build()
      await expect(ingest(hostile)).rejects.toMatchObject({ code: 'entry-refused' })
      expect([readdirSync(`${directory}/objects`), readdirSync(`${directory}/layers`)]).toEqual([[], []])
    })
  })

  it('replaces nothing when two bring the same object', async () => {
    await ingest(layer().file('a', MEDIUM).build())
    const path = objects().path(verityDigest(MEDIUM))
    const before = statSync(path).ino
    await ingest(layer().file('b', MEDIUM).build())
    expect(statSync(path).ino).toBe(before)
  })
})

it('an ingest writes a content again whose object is cut or grown, and only that', async () => {
  const tar = layer()
    .file('a', 'alpha '.repeat(20))
    .file('b', 'beta '.repeat(400_000))
    .file('c', 'gamma '.repeat(20))
    .build()
  const first = await ingest(tar)
  const pathOf = (text: string) => objects().path(verityDigest(Buffer.from(text)))
  const [a, b, c] = ['alpha '.repeat(20), 'beta '.repeat(400_000), 'gamma '.repeat(20)].map(pathOf)
  const untouched = statSync(c!).ino
  truncateSync(a!, 7)
  truncateSync(b!, 3_000_000)
  rmSync(first.record)
  expect((await ingest(tar)).newObjects).toBe(2)
  expect([readFileSync(a!, 'utf8'), readFileSync(b!, 'utf8')]).toEqual([
    'alpha '.repeat(20),
    'beta '.repeat(400_000),
  ])
  expect(statSync(c!).ino).toBe(untouched)
})

describe('an ingest beside a clean', () => {
  const shared = () => layer().file('shared', MEDIUM)
  const tar = () => shared().file('own', Buffer.alloc(1000, 'own')).build()
  const sharedPath = () => objects().path(verityDigest(MEDIUM))
  /** What clean does to an object that no record names. */
  const sweep = () => {
    raiseGeneration(`${directory}/generation`)
    rmSync(sharedPath())
  }
  const layersAndAnnounced = () => [
    readdirSync(`${directory}/layers`).length,
    readdirSync(directory).filter((name) => name.startsWith('announced')),
  ]

  it('says that the layer has to be read again when a content that it found was taken away', async () => {
    await ingest(shared().build())
    const { isRead } = await ingest(tar(), {}, tar(), 777, sweep)
    expect([isRead, ...layersAndAnnounced()]).toEqual([false, 1, []])
  })

  it('writes all contents when it may not use what is there', async () => {
    await ingest(shared().build())
    const { isRead, newObjects, record, diffId } = await ingest(tar(), { reuse: false }, tar(), 777, sweep)
    expect([isRead, newObjects, ...layersAndAnnounced()]).toEqual([true, 2, 2, []])
    expect(verifyLayer(record, diffId, objects(), DEFAULT_LIMITS)).toBe(tar().length)
  })

  it('goes on when other contents were taken away', async () => {
    await ingest(shared().build())
    await ingest(layer().file('other', Buffer.alloc(500, 'other')).build())
    const other = objects().path(verityDigest(Buffer.alloc(500, 'other')))
    const { isRead, newObjects } = await ingest(tar(), {}, tar(), 777, () => {
      raiseGeneration(`${directory}/generation`)
      rmSync(other)
    })
    expect([isRead, newObjects]).toEqual([true, 1])
  })

  it('does not look when nothing was taken away', async () => {
    await ingest(shared().build())
    // No clean does this; an ingest that looked would notice.
    const { isRead } = await ingest(tar(), {}, tar(), 777, () => rmSync(sharedPath()))
    expect(isRead).toBe(true)
  })

  it('leaves no announced record when it cannot publish', async () => {
    await expect(ingest(tar(), { objects: `${directory}/objects/none/\0` })).rejects.toThrow()
    expect(layersAndAnnounced()).toEqual([0, []])
  })
})

describe('verifying', () => {
  it('finds a flipped bit in an object, by its own digest and by the diff id', async () => {
    const { record, diffId } = await ingest(sample().build())
    const digest = verityDigest(MEDIUM)
    const path = objects().path(digest)
    expect(verifyObject(path, digest)).toBe(MEDIUM.length)
    const damaged = Buffer.from(MEDIUM)
    damaged[4321]! ^= 1
    chmodSync(path, 0o644)
    writeFileSync(path, damaged)
    expect(() => verifyObject(path, digest)).toThrow(expect.objectContaining({ code: 'object-damaged' }))
    expect(() => verifyLayer(record, diffId, objects(), DEFAULT_LIMITS)).toThrow(
      expect.objectContaining({ code: 'diff-id-mismatch' }),
    )
  })

  it('finds a shortened and a missing object', async () => {
    const { record, diffId } = await ingest(sample().build())
    const path = objects().path(verityDigest(MEDIUM))
    chmodSync(path, 0o644)
    writeFileSync(path, MEDIUM.subarray(0, 100))
    expect(() => verifyLayer(record, diffId, objects(), DEFAULT_LIMITS)).toThrow(
      expect.objectContaining({ code: 'diff-id-mismatch' }),
    )
    rmSync(path)
    expect(() => verifyLayer(record, diffId, objects(), DEFAULT_LIMITS)).toThrow(
      expect.objectContaining({ code: 'object-missing' }),
    )
  })

  it('finds a record that is another layer', async () => {
    const one = await ingest(layer().file('a', 'a').build())
    const two = await ingest(layer().file('b', 'b').build())
    expect(() => verifyLayer(one.record, two.diffId, objects(), DEFAULT_LIMITS)).toThrow(
      expect.objectContaining({ code: 'diff-id-mismatch' }),
    )
  })

  it('does not need the staging directory any more', async () => {
    const { record, diffId } = await ingest(sample().build())
    rmSync(`${directory}/staging-${count}`, { recursive: true })
    expect(existsSync(record)).toBe(true)
    expect(verifyLayer(record, diffId, objects(), DEFAULT_LIMITS)).toBeGreaterThan(3_000_000)
  })
})
