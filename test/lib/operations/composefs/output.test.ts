import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  closeSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { composefs } from '../../../../lib/index.js'
import { isRoot, rejectionOf, useScratch } from '../../linux/scratch.js'

const scratch = useScratch()
const at = (...names: string[]) => join(scratch.path, ...names)
const DUMP = '/ 0 40755 2 0 0 0 0.0 - - -\n/f 3 100644 1 0 0 0 0.0 - abc -\n'

const dump = async function* () {
  yield Buffer.from(DUMP)
}
const make = (image?: string, signal?: AbortSignal) =>
  composefs.make({
    dump: dump(),
    ...(image === undefined ? {} : { image }),
    ...(signal === undefined ? {} : { signal }),
  })

/** The bytes that an image of the dump has. */
async function expected(): Promise<Buffer> {
  const pieces: Uint8Array[] = []
  await composefs.make({ dump: dump(), image: { write: async (bytes) => void pieces.push(bytes) } })
  return Buffer.concat(pieces)
}

describe('an image that is written to a path', () => {
  it('is there as a whole, with the mode that new files get, and nothing else', async () => {
    const umask = process.umask(0o027)
    try {
      const made = await make(at('image'))
      expect(made.bytes).toBe(statSync(at('image')).size)
    } finally {
      process.umask(umask)
    }
    expect(readFileSync(at('image'))).toEqual(await expected())
    expect(statSync(at('image')).mode & 0o7777).toBe(0o640)
    expect(readdirSync(scratch.path)).toEqual(['image'])
  })

  it('takes the place of another file, and has its mode', async () => {
    writeFileSync(at('image'), 'old')
    chmodSync(at('image'), 0o604)
    const before = statSync(at('image'))
    await make(at('image'))
    const after = statSync(at('image'))
    expect({ mode: after.mode, isOther: after.ino !== before.ino }).toEqual({
      mode: before.mode,
      isOther: true,
    })
    expect(readFileSync(at('image'))).toEqual(await expected())
  })

  it('takes the place of what a symlink leads to, and the symlink stays', async () => {
    mkdirSync(at('d'))
    symlinkSync('d/image', at('link'))
    await make(at('link'))
    expect(readlinkSync(at('link'))).toBe('d/image')
    expect(lstatSync(at('d/image')).isFile()).toBe(true)
    await make(at('link'))
    expect(readdirSync(at('d'))).toEqual(['image'])
  })

  it('leaves the old file as it was when the dump is wrong', async () => {
    writeFileSync(at('image'), 'old')
    writeFileSync(at('dump'), '/ 0 40755 2 0 0 0 0.0 - - -\nnonsense\n')
    expect(await rejectionOf(composefs.make({ dump: at('dump'), image: at('image') }))).toMatchObject({
      code: 'dump-invalid',
    })
    expect(readFileSync(at('image'), 'utf8')).toBe('old')
    expect(readdirSync(scratch.path).sort()).toEqual(['dump', 'image'])
  })

  it('is refused for a directory, and where there is none to be in, before anything is read', async () => {
    const unread = async function* () {
      yield Buffer.from('')
      throw new Error('it was read')
    }
    const refusal = (image: string) => rejectionOf(composefs.make({ dump: unread(), image }))
    expect(await refusal(scratch.path)).toMatchObject({
      code: 'usage-invalid',
      facts: { path: scratch.path },
    })
    expect(await refusal(at('nosuch/image'))).toMatchObject({
      code: 'file-missing',
      facts: { path: at('nosuch/image') },
    })
    symlinkSync('loop', at('loop'))
    expect(await refusal(at('loop'))).toMatchObject({ code: 'system-call', facts: { errno: 'ELOOP' } })
  })
})

describe('an image that is written to what is no regular file', () => {
  it('fills the open file that a path in /proc names, also one that has no name any more', async () => {
    const fd = openSync(at('open'), 'w+')
    execFileSync('rm', [at('open')])
    try {
      await make(`/proc/self/fd/${fd}`)
      expect(readFileSync(`/proc/self/fd/${fd}`)).toEqual(await expected())
      await make(`/dev/fd/${fd}`)
      expect(readFileSync(`/proc/self/fd/${fd}`)).toEqual(await expected())
    } finally {
      closeSync(fd)
    }
    expect(readdirSync(scratch.path)).toEqual([])
  })

  it('goes through a FIFO, once somebody reads it', async () => {
    execFileSync('mkfifo', [at('fifo')])
    const made = make(at('fifo'))
    await new Promise((resolve) => setTimeout(resolve, 50))
    const reader = spawn('cat', [at('fifo')], { stdio: ['ignore', 'pipe', 'inherit'] })
    const read: Buffer[] = []
    reader.stdout.on('data', (bytes: Buffer) => read.push(bytes))
    await Promise.all([made, once(reader, 'close')])
    expect(Buffer.concat(read)).toEqual(await expected())
    expect(lstatSync(at('fifo')).isFIFO()).toBe(true)
  })

  it('does not wait for a reader for ever', async () => {
    execFileSync('mkfifo', [at('fifo')])
    const controller = new AbortController()
    const waiting = rejectionOf(make(at('fifo'), controller.signal))
    setTimeout(() => controller.abort(), 50)
    expect(await waiting).toMatchObject({ code: 'aborted' })
  })

  it('goes to a device, and a device that takes nothing is an error', async () => {
    expect(await make('/dev/null')).toMatchObject({ version: 0 })
    expect(lstatSync('/dev/null').isCharacterDevice()).toBe(true)
    expect(await rejectionOf(make('/dev/full'))).toMatchObject({ code: 'disk-full' })
  })

  it.skipIf(!isRoot || losetupMissing())(
    'goes to a block device, which stays one (needs root, losetup)',
    async () => {
      writeFileSync(at('disk'), Buffer.alloc(1024 * 1024, 0xff))
      const device = execFileSync('losetup', ['--find', '--show', at('disk')], { encoding: 'utf8' }).trim()
      try {
        const { bytes } = await make(device)
        expect(lstatSync(device).isBlockDevice()).toBe(true)
        expect(readFileSync(at('disk')).subarray(0, bytes)).toEqual(await expected())
      } finally {
        execFileSync('losetup', ['--detach', device])
      }
    },
  )
})

function losetupMissing(): boolean {
  try {
    execFileSync('losetup', ['--find'], { stdio: 'ignore' })
    return false
  } catch {
    return true
  }
}
