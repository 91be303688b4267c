/**
 * The small parts of collection: the generation, the trash, the time of last use, names of pins.
 */
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { describe, expect, it } from 'vitest'
import type { CachedImage } from '../../../lib/store/cached-images.js'
import { raiseGeneration, readGeneration } from '../../../lib/store/generation.js'
import { noteUse } from '../../../lib/store/last-use.js'
import { storeLayout } from '../../../lib/store/layout.js'
import { isNamed, namesOfImage, pinFile } from '../../../lib/store/pins.js'
import { announcedPath, announceRecord, leaseOfAnnounced } from '../../../lib/store/publishing.js'
import { bundleOfTrashed, condemn, removeTrashed } from '../../../lib/store/trash.js'
import { useScratch } from '../linux/scratch.js'
import { diffIdOf } from './synthetic-store.js'

const scratch = useScratch()

describe('the generation', () => {
  it('is the same until it is raised, and never one that it was before', () => {
    const path = `${scratch.path}/gc/generation`
    const seen = new Set([readGeneration(path)])
    expect(readGeneration(path)).toBe([...seen][0])
    for (let i = 0; i < 50; i++) {
      raiseGeneration(path)
      const now = readGeneration(path)
      expect(now).toMatch(/^[0-9a-f]{16}$/)
      expect(readGeneration(path)).toBe(now)
      seen.add(now)
    }
    expect(seen.size).toBe(51)
  })

  it('is raised where it was never read', () => {
    const path = `${scratch.path}/gc/generation`
    raiseGeneration(path)
    expect(readGeneration(path)).toMatch(/^[0-9a-f]{16}$/)
  })
})

describe('announcing', () => {
  it('moves a record and says the generation, also in a store that had no place for it', () => {
    const layout = storeLayout(scratch.path)
    writeFileSync(`${scratch.path}/record`, 'r')
    const announced = announcedPath(layout, 'lease-1', diffIdOf('a'))
    expect(announceRecord(layout, `${scratch.path}/record`, announced)).toBe(
      readGeneration(layout.generation),
    )
    expect(readFileSync(announced, 'utf8')).toBe('r')
    expect(readdirSync(layout.publishing).map(leaseOfAnnounced)).toEqual(['lease-1'])
  })
})

describe('the trash', () => {
  it('takes a file out of its place, once', () => {
    const layout = storeLayout(scratch.path)
    writeFileSync(`${scratch.path}/a`, 'a')
    expect(condemn(layout, `${scratch.path}/a`, 'x')).toEqual({ kind: 'trashed', path: `${layout.trash}/x` })
    expect(condemn(layout, `${scratch.path}/a`, 'y')).toEqual({ kind: 'missing' })
    expect(readdirSync(layout.trash)).toEqual(['x'])
  })

  it('takes a symlink itself, and a directory whole, and removes them without following', async () => {
    const layout = storeLayout(scratch.path)
    mkdirSync(`${scratch.path}/kept`)
    writeFileSync(`${scratch.path}/kept/file`, 'kept')
    symlinkSync(`${scratch.path}/kept`, `${scratch.path}/link`)
    mkdirSync(`${scratch.path}/dir/closed`, { recursive: true })
    symlinkSync(`${scratch.path}/kept`, `${scratch.path}/dir/link`)
    chmodSync(`${scratch.path}/dir/closed`, 0)
    for (const name of ['link', 'dir']) condemn(layout, `${scratch.path}/${name}`, name)
    for (const name of ['link', 'dir', 'none']) await removeTrashed(`${layout.trash}/${name}`)
    expect(readdirSync(layout.trash)).toEqual([])
    expect(readFileSync(`${scratch.path}/kept/file`, 'utf8')).toBe('kept')
  })

  it('tells records of bundles from all else', () => {
    expect(bundleOfTrashed('web-1-0123456789ab.json')).toBe('web-1')
    for (const name of ['object-00', 'layer-0123456789ab', '.x-0123456789ab.json', 'web-1.json'])
      expect(bundleOfTrashed(name), name).toBeNull()
  })
})

describe('the last use', () => {
  const age = (path: string) => Date.now() - statSync(path).mtimeMs

  it('is noted to the minute, and a time to come is put right', () => {
    const path = `${scratch.path}/record`
    writeFileSync(path, '')
    const set = (msAgo: number) => utimesSync(path, new Date(), new Date(Date.now() - msAgo))
    set(3_600_000)
    noteUse(path)
    expect(age(path)).toBeLessThan(10_000)
    set(30_000)
    noteUse(path)
    expect(age(path)).toBeGreaterThan(29_000)
    set(-3_600_000)
    noteUse(path)
    expect(Math.abs(age(path))).toBeLessThan(10_000)
  })

  it('of what is not there, or not a file, is not noted', () => {
    noteUse(`${scratch.path}/none`)
    expect(existsSync(`${scratch.path}/none`)).toBe(false)
    writeFileSync(`${scratch.path}/file`, '')
    const longAgo = new Date('2020-01-01')
    utimesSync(`${scratch.path}/file`, longAgo, longAgo)
    symlinkSync('file', `${scratch.path}/link`)
    noteUse(`${scratch.path}/link`)
    expect(statSync(`${scratch.path}/file`).mtimeMs).toBe(longAgo.getTime())
    rmSync(`${scratch.path}/link`)
  })
})

describe('names of images', () => {
  const image = (digest: string, ...references: string[]) =>
    ({ digest, refs: references.map((reference) => ({ reference })) }) as unknown as CachedImage
  const digest = diffIdOf('manifest')

  it.each([
    ['docker:///debian', 'docker://registry-1.docker.io/library/debian:latest'],
    ['docker://r.example:5000/a/b:1', 'docker://r.example:5000/a/b:1'],
    ['oci:/images:web', 'oci:/images:web'],
    ['/images/../a.tar', '/a.tar'],
    [digest, digest],
  ])('%s means %s', (text, name) => {
    expect(namesOfImage(text)).toContain(name)
    expect(isNamed(image('sha256:00', name), namesOfImage(text))).toBe(true)
  })

  it('mean an image by its digest too, and no other', () => {
    expect(isNamed(image(digest, 'docker://r/a:1'), namesOfImage(digest))).toBe(true)
    expect(isNamed(image(digest, 'docker://r/a:1'), namesOfImage('docker://r.example/a:1'))).toBe(false)
    expect(() => namesOfImage('')).toThrow(expect.objectContaining({ code: 'reference-invalid' }))
  })

  it('give files of pins that are names of files', () => {
    expect(pinFile('docker://r/../a')).toMatch(/^[0-9a-f]{64}\.json$/)
  })
})
