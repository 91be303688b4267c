import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { verityDigest } from '../../../../lib/composefs/verity.js'
import { composefs } from '../../../../lib/index.js'
import { unmount } from '../../../../lib/linux/mount-context.js'
import { isMountPoint } from '../../../../lib/linux/mount-points.js'
import { rejectionOf, useScratch } from '../../linux/scratch.js'

const CONTENT = 'content of an object '.repeat(10)

/** A directory as image and objects, with places to mount it and to write to. */
async function prepare(path: string) {
  for (const name of ['source/d', 'target', 'upper', 'work']) mkdirSync(join(path, name), { recursive: true })
  writeFileSync(join(path, 'source/d/file'), CONTENT)
  writeFileSync(join(path, 'source/small'), 'small')
  const image = join(path, 'image')
  const objects = join(path, 'objects')
  await composefs.make({ directory: join(path, 'source'), digestStore: objects, image })
  return { image, target: join(path, 'target'), objects: [objects] }
}

/** Why nothing can be mounted here, if so. */
async function obstacle(): Promise<string | null> {
  const path = mkdtempSync(join(tmpdir(), 'groot-mount-test-'))
  try {
    const request = await prepare(path)
    await composefs.mount(request)
    unmount(request.target)
    return null
  } catch (error) {
    return String(error)
  } finally {
    rmSync(path, { recursive: true, force: true })
  }
}

const why = await obstacle()
const scratch = useScratch()

describe.skipIf(why !== null)('a mounted image (needs root, EROFS and data-only layers)', () => {
  async function mounted<T>(more: object, look: (target: string) => T | Promise<T>): Promise<T> {
    const request = await prepare(scratch.path)
    await composefs.mount({ ...request, ...more })
    try {
      return await look(request.target)
    } finally {
      unmount(request.target, { lazily: true })
    }
  }
  const writable = () => ({ upper: join(scratch.path, 'upper'), work: join(scratch.path, 'work') })

  it('has the files of the directory, and cannot be written to', async () => {
    await mounted({}, (target) => {
      expect(spawnSync('diff', ['-r', join(scratch.path, 'source'), target])).toMatchObject({ status: 0 })
      expect(() => writeFileSync(join(target, 'new'), '')).toThrow(expect.objectContaining({ code: 'EROFS' }))
    })
    expect(isMountPoint(join(scratch.path, 'target'))).toBe(false)
  })

  it('finds objects in any of several directories', async () => {
    const empty = join(scratch.path, 'empty')
    mkdirSync(empty)
    await mounted({ objects: [empty, join(scratch.path, 'objects')] }, (target) => {
      expect(readFileSync(join(target, 'd/file'), 'utf8')).toBe(CONTENT)
    })
  })

  it('is written to in the upper directory, and shows it read-only when asked', async () => {
    await mounted(writable(), (target) => {
      writeFileSync(join(target, 'd/file'), 'changed')
      rmSync(join(target, 'small'))
    })
    expect(readFileSync(join(scratch.path, 'upper/d/file'), 'utf8')).toBe('changed')
    await mounted({ ...writable(), readOnly: true }, (target) => {
      expect(readFileSync(join(target, 'd/file'), 'utf8')).toBe('changed')
      expect(existsSync(join(target, 'small'))).toBe(false)
      expect(() => writeFileSync(join(target, 'new'), '')).toThrow(expect.objectContaining({ code: 'EROFS' }))
    })
  })

  it('demands fs-verity of objects when asked', async () => {
    const object = verityDigest(Buffer.from(CONTENT))
    const path = join(scratch.path, 'objects', object.slice(0, 2), object.slice(2))
    await mounted({ verity: 'require' }, async (target) => {
      const [measured] = await composefs.measure({ files: [path] })
      const read = () => readFileSync(join(target, 'd/file'), 'utf8')
      if (measured?.by === 'kernel') expect(read()).toBe(CONTENT)
      else expect(read).toThrow(expect.objectContaining({ code: 'EIO' }))
    })
  })

  it('is refused when it has not the digest that is demanded, and nothing stays mounted', async () => {
    const request = await prepare(scratch.path)
    const error = await rejectionOf(composefs.mount({ ...request, digest: '0'.repeat(64) }))
    expect(['verity-unsupported', 'digest-unexpected']).toContain(error.code)
    expect(await rejectionOf(composefs.mount({ ...request, digest: 'xyz' }))).toMatchObject({
      code: 'usage-invalid',
    })
    writeFileSync(join(scratch.path, 'damaged'), Buffer.alloc(8192))
    const damaged = { ...request, image: join(scratch.path, 'damaged') }
    expect(await rejectionOf(composefs.mount(damaged))).toMatchObject({ code: 'composefs-invalid' })
    expect(isMountPoint(request.target)).toBe(false)
    expect(
      readdirSync(tmpdir()).filter((name) => name.startsWith('groot-mount-') && !name.includes('test')),
    ).toEqual([])
  })
})
