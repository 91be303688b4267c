import { execFileSync } from 'node:child_process'
import { copyFileSync, mkdirSync, utimesSync, writeFileSync } from 'node:fs'
import { relative } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { sha256 } from '../../../lib/digest.js'
import { tarballSource } from '../../../lib/sources/tarball.js'
import {
  ARM64,
  blobBytes,
  buildLayout,
  CONFIG,
  descriptor,
  failure,
  json,
  LAYER,
  MANIFEST,
  resolveIt,
  Scratch,
  tarOf,
} from './builders.js'

let scratch: Scratch
beforeEach(() => {
  scratch = new Scratch()
})
afterEach(() => scratch[Symbol.asyncDispose]())

const open = (name: string) => tarballSource({ path: scratch.join(name) }, scratch.context)

async function resolveTar(bytes: Uint8Array, name = 'root.tar') {
  writeFileSync(scratch.join(name), bytes)
  await using source = await open(name)
  return await resolveIt(source)
}

/** A zstd frame of one raw block. */
function zstd(bytes: Buffer): Buffer {
  const header = Buffer.alloc(3)
  header.writeUIntLE((bytes.length << 3) | 1, 0, 3)
  return Buffer.concat([Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0, 0x58]), header, bytes])
}

describe('a tar', () => {
  it('is an image of one layer, for the platform that was asked for', async () => {
    const bytes = await tarOf({ 'etc/motd': 'hello' })
    scratch.write({ 'root.tar': bytes })
    await using source = await tarballSource(
      { path: relative(process.cwd(), scratch.join('root.tar')) },
      scratch.context,
    )
    const resolved = await resolveIt(source, { ...ARM64, variant: 'v9' })
    const config = json({
      architecture: 'arm64',
      os: 'linux',
      variant: 'v9',
      config: {},
      rootfs: { type: 'layers', diff_ids: [sha256(bytes)] },
    })
    const manifest = json({
      schemaVersion: 2,
      mediaType: MANIFEST,
      config: descriptor(CONFIG, config),
      layers: [descriptor(LAYER, bytes)],
    })
    expect([Buffer.from(resolved.configBytes), Buffer.from(resolved.manifestBytes)].map(String)).toEqual(
      [config, manifest].map(String),
    )
    expect(resolved).toMatchObject({
      reference: scratch.join('root.tar'),
      digest: sha256(manifest),
      layers: [{ diffId: sha256(bytes), descriptor: descriptor(LAYER, bytes) }],
    })
    expect(await blobBytes(source, resolved.layers[0]!)).toEqual(bytes)
  })

  it('is the same image under any path, at any time, and however it is compressed', async () => {
    const bytes = await tarOf({ 'etc/motd': 'hello' })
    const packed = [bytes, gzipSync(bytes), gzipSync(bytes, { level: 1 }), zstd(bytes)]
    const images = await Promise.all(packed.map((each, index) => resolveTar(each, `${index}.tar`)))
    copyFileSync(scratch.join('0.tar'), scratch.join('copy'))
    utimesSync(scratch.join('copy'), 1, 1)
    await using source = await open('copy')
    images.push(await resolveIt(source))
    expect(new Set(images.map(({ digest }) => digest)).size).toBe(1)
    expect(new Set(images.map(({ manifest }) => manifest.config.digest)).size).toBe(1)
    expect(images.slice(0, 4).map(({ layers }) => layers)).toEqual(
      packed.map((each, index) => [
        {
          diffId: sha256(bytes),
          descriptor: descriptor(LAYER + ['', '+gzip', '+gzip', '+zstd'][index], each),
        },
      ]),
    )
  })

  it('is another image when its content is another', async () => {
    const [one, two] = [await resolveTar(await tarOf({ a: '1' })), await resolveTar(await tarOf({ a: '2' }))]
    expect(one.digest).not.toBe(two.digest)
  })

  it('is refused when it is an archive of images, and both readings are named', async () => {
    const layout = await tarOf(await buildLayout())
    const path = scratch.join('root.tar')
    expect(await failure(resolveTar(gzipSync(layout)))).toEqual({
      code: 'reference-ambiguous',
      facts: { image: path, readings: [`oci-archive:${path}`, `${path} as a root filesystem`] },
    })
    const docker = await tarOf({ './manifest.json': '[{"Config":"c","RepoTags":null,"Layers":[]}]' })
    expect((await failure(resolveTar(docker))).facts.readings).toEqual([
      `docker-archive:${path}`,
      `${path} as a root filesystem`,
    ])
  })

  it.each<[string, Readonly<Record<string, string>>]>([
    ['a manifest.json of something else', { 'manifest.json': '{"name":"app"}', 'index.json': '[]' }],
    ['a manifest.json that is no JSON', { 'manifest.json': 'x' }],
    ['an oci-layout and no index', { 'oci-layout': '{"imageLayoutVersion":"1.0.0"}' }],
    ['an oci-layout of something else', { 'oci-layout': 'x', 'index.json': '{}' }],
    ['a layout further down', { 'srv/oci-layout': '{"imageLayoutVersion":"1.0.0"}', 'srv/index.json': '{}' }],
  ])('with %s is a root filesystem', async (_, files) => {
    const bytes = await tarOf(files)
    expect((await resolveTar(bytes)).layers[0]!.diffId).toBe(sha256(bytes))
  })

  it.each<[string, string, (bytes: Buffer) => Buffer]>([
    ['empty', 'tar-invalid', () => Buffer.alloc(0)],
    ['text', 'tar-invalid', () => Buffer.from('hello\n'.repeat(1000))],
    ['text with gzip', 'tar-invalid', () => gzipSync('hello\n'.repeat(1000))],
    ['a few bytes', 'tar-invalid', () => Buffer.from('PK')],
    ['cut', 'tar-invalid', (bytes) => bytes.subarray(0, 600)],
    ['cut and compressed', 'compression-invalid', (bytes) => gzipSync(bytes).subarray(0, -10)],
    [
      'followed by other bytes',
      'compression-invalid',
      (bytes) => Buffer.concat([gzipSync(bytes), Buffer.from('x')]),
    ],
  ])('is refused when it is %s', async (_, code, change) => {
    expect((await failure(resolveTar(change(await tarOf({ a: 'a' }))))).code).toBe(code)
  })

  it('is refused when it is missing, or no regular file, without waiting for it', async () => {
    expect(await failure(open('none'))).toEqual({
      code: 'file-missing',
      facts: { path: scratch.join('none') },
    })
    mkdirSync(scratch.join('directory'))
    execFileSync('mkfifo', [scratch.join('fifo')])
    expect((await failure(open('directory'))).facts.found).toBe('a directory')
    expect(await failure(open('fifo'))).toEqual({
      code: 'reference-invalid',
      facts: { path: scratch.join('fifo'), found: 'neither a file nor a directory' },
    })
  })

  it.skipIf(process.getuid?.() === 0)(
    'that cannot be read is named (needs another user than root)',
    async () => {
      writeFileSync(scratch.join('root.tar'), 'x', { mode: 0 })
      expect(await failure(open('root.tar'))).toEqual({
        code: 'system-call',
        facts: { path: scratch.join('root.tar'), errno: 'EACCES', syscall: 'open' },
      })
    },
  )
})
