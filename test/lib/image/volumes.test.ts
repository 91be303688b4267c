import { describe, expect, it } from 'vitest'
import { byteString } from '../../../lib/bytes.js'
import { planVolumes, volumeTree } from '../../../lib/image/volumes.js'
import { type Directory, IMPLICIT_DIRECTORY, type Inode, NO_CONTENT } from '../../../lib/tree/model.js'
import { imageConfig } from './image-config.js'

const plan = (...volumes: string[]) => planVolumes(imageConfig({ volumes }))

describe('the volumes of an image', () => {
  it('get a directory each, parents first', () => {
    expect(plan('/var/lib/db/log', '/srv', '/var/lib/db')).toEqual([
      { destination: '/srv', directory: 'volumes/0' },
      { destination: '/var/lib/db', directory: 'volumes/1' },
      { destination: '/var/lib/db/log', directory: 'volumes/2' },
    ])
  })

  it('are one when two texts name one place', () => {
    expect(plan('/data/', '//data', 'data', '/./data', '/a/../data', '/../data', 'x/y/../../data/.')).toEqual(
      [{ destination: '/data', directory: 'volumes/0' }],
    )
  })

  it('are left out where every container has a filesystem of its own', () => {
    expect(
      plan('/sys/fs/cgroup', '/proc', '/proc/x', '/a/../proc/y', '/dev/shm/a', '/devices', '/process'),
    ).toEqual([
      { destination: '/devices', directory: 'volumes/0' },
      { destination: '/process', directory: 'volumes/1' },
    ])
  })

  it.each(['/', '', '.', '//', '/a/../..', '..', '/.', 'a/..', '/a\0b'])('cannot be at %j', (volume) => {
    expect(() => plan(volume)).toThrow(
      expect.objectContaining({
        code: 'config-invalid',
        facts: { document: 'config', field: '$.config.Volumes', volume },
      }),
    )
  })

  it.each([
    ['a name has at most 255 bytes', `/data/${'n'.repeat(256)}`],
    ['a name has at most 255 bytes', `/${'é'.repeat(128)}`],
    ['a path has at most 4095 bytes', '/long'.repeat(820)],
  ])('cannot be where no file can be: %s', (cause, volume) => {
    expect(() => plan(volume)).toThrow(
      expect.objectContaining({
        code: 'config-invalid',
        facts: expect.objectContaining({ field: '$.config.Volumes', cause }),
      }),
    )
  })

  it('are at most 1024', () => {
    const many = Array.from({ length: 1025 }, (_, index) => `/v${index}`)
    expect(() => plan(...many)).toThrow(expect.objectContaining({ code: 'limit-exceeded' }))
    expect(plan(...many.slice(1))).toHaveLength(1024)
  })
})

describe('what a volume begins with', () => {
  const file: Inode = { ...IMPLICIT_DIRECTORY, kind: 'file', size: 0, content: NO_CONTENT }
  const link = (target: string): Inode => ({
    ...IMPLICIT_DIRECTORY,
    kind: 'symlink',
    target: byteString(target),
  })
  const directory = (children: Record<string, Inode>, mode = 0o755): Directory => ({
    ...IMPLICIT_DIRECTORY,
    mode,
    kind: 'directory',
    children: new Map(Object.entries(children).map(([name, inode]) => [byteString(name), inode])),
  })
  const data = directory({ 'a file': file }, 0o700)
  const root = directory({ data, etc: directory({ passwd: file }), alias: link('../../../data') })
  const treeOf = (destination: string) => volumeTree({ root }, { destination, directory: 'volumes/0' })

  it('is the directory of the image, metadata and all below', () => {
    expect(treeOf('/data').root).toBe(data)
  })

  it('is found through symlinks without leaving the tree', () => {
    expect(treeOf('/alias').root).toBe(data)
  })

  it('is an empty directory where the image has nothing', () => {
    expect(treeOf('/none/such').root).toEqual(directory({}))
  })

  it('is refused where the image has a file', () => {
    expect(() => treeOf('/etc/passwd')).toThrow(
      expect.objectContaining({
        code: 'config-invalid',
        message: 'Cannot use "/etc/passwd" as a volume: the image has a file there, a volume is a directory',
      }),
    )
  })
})
