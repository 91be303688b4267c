import { existsSync, readdirSync, writeFileSync } from 'node:fs'
import { gzipSync } from 'node:zlib'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { sha256 } from '../../../lib/digest.js'
import { isGrootError } from '../../../lib/errors.js'
import { DEFAULT_LIMITS } from '../../../lib/layer/limits.js'
import { ociArchiveSource } from '../../../lib/sources/oci-archive.js'
import type { LayoutRequest } from '../../../lib/sources/oci-layout.js'
import { layer } from '../../../lib/testkit/layer.js'
import {
  AMD64,
  blobBytes,
  blobName,
  buildImage,
  buildLayout,
  failure,
  file,
  type Member,
  resolveIt,
  Scratch,
  tar,
  tarOf,
} from './builders.js'

let scratch: Scratch
beforeEach(() => {
  scratch = new Scratch()
})
afterEach(() => scratch[Symbol.asyncDispose]())

const open = (request: Partial<LayoutRequest> = {}) =>
  ociArchiveSource({ path: scratch.join('image.tar'), ...request }, scratch.context)

async function resolveArchive(bytes: Uint8Array, request: Partial<LayoutRequest> = {}) {
  writeFileSync(scratch.join('image.tar'), bytes)
  await using source = await open(request)
  return await resolveIt(source)
}

/** A zstd frame of raw blocks. */
function zstd(bytes: Buffer): Buffer {
  const parts: Buffer[] = [Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0, 0x58])]
  for (let at = 0; at < bytes.length; at += 100_000) {
    const block = bytes.subarray(at, at + 100_000)
    const header = Buffer.alloc(3)
    header.writeUIntLE((block.length << 3) | (at + 100_000 >= bytes.length ? 1 : 0), 0, 3)
    parts.push(header, block)
  }
  return Buffer.concat(parts)
}

const toMembers = (files: Readonly<Record<string, Buffer>>): Member[] =>
  Object.entries(files).map(([name, content]) => file(name, content))

describe('an image in an OCI archive', () => {
  it.each<[string, (bytes: Buffer) => Buffer]>([
    ['plain', (bytes) => bytes],
    ['gzip', gzipSync],
    ['zstd', zstd],
  ])('is read from a %s tar as from a layout, and nothing is left behind', async (_, pack) => {
    const image = await buildImage()
    writeFileSync(scratch.join('image.tar'), pack(await tarOf(await buildLayout(image))))
    {
      await using source = await open({ tag: 'latest' })
      const resolved = await resolveIt(source)
      expect([resolved.reference, resolved.digest]).toEqual([
        `oci-archive:${scratch.join('image.tar')}:latest`,
        sha256(image.manifest),
      ])
      const blobs = await Promise.all(resolved.layers.map((layer) => blobBytes(source, layer)))
      expect(blobs).toEqual(image.blobs)
    }
    const left = existsSync(scratch.join('scratch')) ? readdirSync(scratch.join('scratch')) : []
    expect(left).toEqual([])
  })

  it('is read whatever order, dots and directories the archive has', async () => {
    const image = await buildImage()
    const members = toMembers(await buildLayout(image)).reverse()
    const dotted = members.map((member) => ({ ...member, name: `./${member.name.replace('/', '//')}` }))
    const directories: Member[] = ['./', './blobs/', './blobs/sha256/'].map((name) => ({
      name,
      type: 'directory',
    }))
    const bytes = await tar(...directories, ...directories, ...dotted)
    expect((await resolveArchive(bytes)).digest).toBe(sha256(image.manifest))
  })

  it('is read where blobs are links of the archive', async () => {
    const image = await buildImage()
    const layout = await buildLayout(image)
    const manifest = blobName(sha256(image.manifest))
    const config = blobName(sha256(image.config))
    const rest = toMembers(layout).filter(({ name }) => name !== manifest && name !== config)
    const bytes = await tar(
      ...rest,
      file('data/m', image.manifest),
      file('data/c', image.config),
      { name: manifest, type: 'symlink', linkname: '../../data/./m' },
      { name: config, type: 'link', linkname: './data/c' },
    )
    expect((await resolveArchive(bytes)).digest).toBe(sha256(image.manifest))
  })

  it.each([
    ['out of the archive', '../../../m'],
    ['to an absolute path', '/etc/passwd'],
    ['to itself', sha256(Buffer.from('x')).slice(7)],
  ])('is refused where a blob is a link %s', async (_, linkname) => {
    const image = await buildImage()
    const name = blobName(sha256(image.manifest))
    const rest = toMembers(await buildLayout(image)).filter((member) => member.name !== name)
    const target = linkname.includes('/') ? linkname : name.slice(name.lastIndexOf('/') + 1)
    const bytes = await tar(...rest, { name, type: 'symlink', linkname: target })
    expect(await failure(resolveArchive(bytes))).toMatchObject({
      code: 'archive-invalid',
      facts: { entry: name },
    })
  })

  it('is refused where the archive has a blob twice', async () => {
    const image = await buildImage()
    const name = blobName(sha256(image.config))
    const bytes = await tar(...toMembers(await buildLayout(image)), file(`./${name}`, 'other'))
    expect(await failure(resolveArchive(bytes))).toEqual({
      code: 'archive-invalid',
      facts: { path: scratch.join('image.tar'), reason: `it has "./${name}" twice`, entry: `./${name}` },
    })
  })

  it('is refused where it is larger, decompressed, than an image may be', async () => {
    const image = await buildImage()
    const padding = file('padding', Buffer.alloc(66 * 1024 ** 2))
    const bytes = gzipSync(await tar(...toMembers(await buildLayout(image)), padding), { level: 1 })
    writeFileSync(scratch.join('image.tar'), bytes)
    const context = (maxTotalBytes: number) => ({
      ...scratch.context,
      limits: { ...DEFAULT_LIMITS, maxTotalBytes },
    })
    const resolveWithin = async (maxTotalBytes: number) => {
      await using source = await ociArchiveSource({ path: scratch.join('image.tar') }, context(maxTotalBytes))
      return await resolveIt(source)
    }
    expect(await failure(resolveWithin(1024 ** 2 - 1))).toMatchObject({
      code: 'limit-exceeded',
      facts: { limit: 66 * 1024 ** 2 - 2 },
    })
    expect((await resolveWithin(2 * 1024 ** 2)).digest).toBe(sha256(image.manifest))
    expect(readdirSync(scratch.join('scratch'))).toEqual([])
  })

  it('is refused where a name, or all names, are longer than any archive needs', async () => {
    const long = await tar(...toMembers(await buildLayout()), file(`x/${'y/'.repeat(2050)}z`, ''))
    const one = { code: 'limit-exceeded', facts: { path: scratch.join('image.tar'), limit: 4096 } }
    expect(await failure(resolveArchive(long))).toEqual(one)
    const many = layer()
    for (let i = 0; i < 17_000; i++) many.pax([['path', `${'d/'.repeat(2000)}${i}`]]).file('f', '')
    const all = { code: 'limit-exceeded', facts: { path: scratch.join('image.tar'), limit: 64 * 1024 ** 2 } }
    expect(await failure(resolveArchive(many.build()))).toEqual(all)
  })

  it('is refused where a name leads out of the archive', async () => {
    const bytes = await tar(...toMembers(await buildLayout()), file('blobs/../../x', 'x'))
    expect((await failure(resolveArchive(bytes))).facts.entry).toBe('blobs/../../x')
  })

  it('is refused where the archive is cut, at every block', async () => {
    const bytes = await tarOf(await buildLayout())
    for (let length = 512; length < bytes.length - 1024; length += 512) {
      expect((await failure(resolveArchive(bytes.subarray(0, length)))).code).toBe('archive-invalid')
    }
    expect((await failure(resolveArchive(gzipSync(bytes).subarray(0, 300)))).code).toBe('compression-invalid')
  })

  it('is refused where a size lies', async () => {
    const bytes = await tarOf(await buildLayout())
    bytes.write('77777777777', 124)
    bytes.write('        ', 148)
    const sum = bytes.subarray(0, 512).reduce((total, byte) => total + byte, 0)
    bytes.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148)
    expect(await failure(resolveArchive(bytes))).toEqual({
      code: 'archive-invalid',
      facts: { path: scratch.join('image.tar'), reason: 'it is cut', bytes: bytes.length },
    })
  })

  it('is refused where the file is no tar', async () => {
    const { code, facts } = await failure(resolveArchive(Buffer.alloc(2000, 'x')))
    expect([code, facts.path, facts.offset]).toEqual(['archive-invalid', scratch.join('image.tar'), 0])
  })

  it('is pointed to where it is, when the archive is of the other kind', async () => {
    const bytes = await tarOf({ 'manifest.json': '[]' })
    const error = await resolveArchive(bytes).catch((thrown: unknown) => thrown)
    expect(error).toMatchObject({ code: 'layout-invalid' })
    expect(String(error)).toContain(`docker-archive:${scratch.join('image.tar')}`)
  })

  it('is missing or refused when the path is', async () => {
    expect(await failure(open())).toEqual({
      code: 'file-missing',
      facts: { path: scratch.join('image.tar') },
    })
    expect(await failure(open({ path: scratch.path }))).toEqual({
      code: 'reference-invalid',
      facts: { path: scratch.path, found: 'a directory' },
    })
    expect((await failure(open({ path: '/dev/null' }))).code).toBe('reference-invalid')
  })

  it('is read or refused, and nothing else, whatever bytes of the archive are changed', async () => {
    const original = await tarOf(await buildLayout())
    const change = fc.record({ at: fc.nat(original.length - 1), byte: fc.nat(255) })
    await fc.assert(
      fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 4 }), async (changes) => {
        const bytes = Buffer.from(original)
        for (const { at, byte } of changes) bytes[at] = byte
        const error = await resolveArchive(bytes).then(
          () => null,
          (thrown: unknown) => thrown,
        )
        expect(
          error === null || (isGrootError(error) && error.kind !== 'bug' && error.kind !== 'system'),
        ).toBe(true)
      }),
      { numRuns: 300 },
    )
  })

  it('leaves nothing behind when decompressing is ended by the signal', async () => {
    const bytes = await tarOf({ ...(await buildLayout()), big: Buffer.alloc(64 * 1024 * 1024) })
    writeFileSync(scratch.join('image.tar'), gzipSync(bytes, { level: 1 }))
    await using source = await open()
    const abort = new AbortController()
    setTimeout(() => abort.abort(), 5)
    await expect(source.resolve({ platform: AMD64, signal: abort.signal })).rejects.toMatchObject({
      code: 'aborted',
    })
    expect(readdirSync(scratch.join('scratch'))).toEqual([])
  })
})
