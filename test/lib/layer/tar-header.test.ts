import { describe, expect, it } from 'vitest'
import { base256, layer, type RawMember, rawMember } from '../../../lib/testkit/layer.js'
import { collect, entriesOf, refusal } from './collect.js'

function entryWith(fields: RawMember) {
  return entriesOf(layer().member(fields).build())[0]!
}

function refused(fields: RawMember) {
  return refusal(() => entryWith({ name: 'a', ...fields }))
}

describe('the checksum', () => {
  it('may be the sum of unsigned or of signed bytes', () => {
    const name = Buffer.from([0xe4, 0xf6, 0xfc])
    expect(entryWith({ name }).path).toBe('\xe4\xf6\xfc')
    expect(entryWith({ name, checksum: 'signed' }).path).toBe('\xe4\xf6\xfc')
  })

  it.each(['0000000\0', '', '        ', 'zzzzzz\0 '])('refuses %j', (checksum) => {
    expect(refused({ checksum })).toMatchObject({ code: 'tar-invalid', facts: { entry: 'a', offset: 0 } })
  })

  it('says what it is and what it should be', () => {
    expect(refused({ checksum: 1 })).toEqual({
      code: 'tar-invalid',
      facts: { entry: 'a', offset: 0, cause: 'its header has the checksum 1 and should have 3134' },
    })
  })

  it('keeps out what is no tar at all', () => {
    const gzip = Buffer.alloc(1024, 0x1f)
    expect(refusal(() => collect(gzip))).toMatchObject({ code: 'tar-invalid', facts: { offset: 0 } })
  })
})

describe('octal numbers', () => {
  it.each([
    ['0000755\0', 0o755],
    ['000755 \0', 0o755],
    ['   755 \0', 0o755],
    ['755\0\0\0\0\0', 0o755],
    ['755     ', 0o755],
    ['00000755', 0o755],
    ['\0\0\0\0\0\0\0\0', 0],
    ['        ', 0],
    ['', 0],
  ])('reads %j', (text, value) => {
    expect(entryWith({ uid: text }).uid).toBe(value)
  })

  it.each(['0000758\0', '-000755\0', '+000755\0', '0x755\0', '75 5\0', '\x00755\0', '755\x007\0', 'root\0'])(
    'refuses %j',
    (text) => {
      expect(refused({ uid: text })).toMatchObject({ code: 'tar-invalid', facts: { entry: 'a', offset: 0 } })
      expect(refused({ uid: text }).facts.cause).toMatch(/^its uid ".*" is not an octal number$/)
    },
  )

  it('use all twelve digits of a size', () => {
    const tar = rawMember({ name: 'a', size: '777777777777' })
    expect(refusal(() => collect(tar, { maxFileBytes: 1 })).facts.cause).toBe(
      `it has ${8 ** 12 - 1} bytes, the limit for one file is 1`,
    )
  })
})

describe('base-256 numbers', () => {
  it('read where octal digits do not reach', () => {
    const entry = entryWith({ uid: 4_000_000_000n, gid: 2n ** 32n - 2n, mode: 0o755n, mtime: 2n ** 40n })
    expect(entry).toMatchObject({
      uid: 4_000_000_000,
      gid: 2 ** 32 - 2,
      mode: 0o755,
      mtimeSeconds: 2n ** 40n,
    })
  })

  it('may be negative for times, to the end of 64 bits', () => {
    expect(entryWith({ mtime: -1n }).mtimeSeconds).toBe(-1n)
    expect(entryWith({ mtime: -(2n ** 63n) }).mtimeSeconds).toBe(-(2n ** 63n))
    expect(entryWith({ mtime: 2n ** 63n - 1n }).mtimeSeconds).toBe(2n ** 63n - 1n)
  })

  it.each([2n ** 63n, -(2n ** 63n) - 1n, 2n ** 87n])('refuse the time %s', (mtime) => {
    expect(refused({ mtime: base256(mtime, 12) }).facts.cause).toBe('its mtime does not fit into 64 bits')
  })

  it.each(['size', 'uid', 'gid', 'mode'] as const)('refuse a negative %s', (field) => {
    expect(refused({ [field]: -1n })).toEqual({
      code: 'tar-invalid',
      facts: { entry: 'a', offset: 0, cause: `its ${field} is negative` },
    })
  })

  it('refuse a size that no number holds, instead of rounding it', () => {
    expect(refused({ size: 2n ** 53n }).facts.cause).toBe('its size is beyond 2^53 - 1')
    expect(refused({ size: base256(2n ** 90n, 12) }).facts.cause).toBe('its size is beyond 2^53 - 1')
  })

  it('do not wrap around', () => {
    expect(refused({ uid: 2n ** 32n }).facts.cause).toBe('its uid is 4294967296, and ids end at 4294967294')
    expect(refused({ gid: 2n ** 32n - 1n }).facts.cause).toBe(
      'its gid is 4294967295, and ids end at 4294967294',
    )
  })
})

describe('the mode', () => {
  it('loses the file type that many writers put above it', () => {
    expect(entryWith({ mode: 0o104755 }).mode).toBe(0o4755)
    expect(entryWith({ mode: 0o40755, type: '5' }).mode).toBe(0o755)
  })
})

describe('device numbers', () => {
  it('read from devices', () => {
    expect(entryWith({ type: '3', major: 4095, minor: 1048575 })).toMatchObject({
      kind: 'char',
      major: 4095,
      minor: 1048575,
    })
    expect(entryWith({ type: '4', major: 7, minor: 200 })).toMatchObject({
      kind: 'block',
      major: 7,
      minor: 200,
    })
  })

  it('mean nothing in other members', () => {
    expect(entryWith({ type: '0', major: 'garbage', minor: 'garbage' })).toMatchObject({ major: 0, minor: 0 })
  })

  it('stay in the range of Linux', () => {
    expect(refused({ type: '3', major: 4096, minor: 0 }).facts.cause).toBe(
      'its major number is 4096, and Linux has them up to 4095',
    )
    expect(refused({ type: '4', major: 0, minor: 1048576 }).facts.cause).toBe(
      'its minor number is 1048576, and Linux has them up to 1048575',
    )
  })

  it('are missing in v7 headers, which cannot be devices then', () => {
    expect(refused({ type: '3', magic: 'v7' }).facts.cause).toBe(
      'it is a device in a format without device numbers',
    )
  })
})

describe('name fields', () => {
  it('end at their first NUL or at their end', () => {
    expect(entryWith({ name: 'short\0left over' }).path).toBe('short')
    expect(entryWith({ name: 'n'.repeat(100) }).path).toBe('n'.repeat(100))
  })

  it('have a prefix in POSIX headers only', () => {
    expect(entryWith({ name: 'b', prefix: 'a' }).path).toBe('a/b')
    expect(entryWith({ name: 'n'.repeat(100), prefix: 'p'.repeat(155) }).path).toBe(
      `${'p'.repeat(155)}/${'n'.repeat(100)}`,
    )
    expect(entryWith({ name: 'b', prefix: 'a', magic: 'gnu' }).path).toBe('b')
    expect(entryWith({ name: 'b', prefix: 'a', magic: 'v7' }).path).toBe('b')
    expect(entryWith({ name: 'b', prefix: 'a', magic: Buffer.from('ustar\x0099') }).path).toBe('a/b')
    expect(entryWith({ name: 'b', prefix: 'a', magic: Buffer.from('ustar  x') }).path).toBe('b')
  })

  it('are bytes, whatever they are', () => {
    const name = Buffer.from(Array.from({ length: 98 }, (_, i) => 255 - i))
    expect(entryWith({ name }).path).toBe(name.toString('latin1'))
  })

  it('cannot be empty', () => {
    expect(refused({ name: '' }).facts).toEqual({ entry: '', cause: 'it has no name', offset: 0 })
  })
})
