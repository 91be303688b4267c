import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type ByteString, byteString } from '../../../lib/bytes.js'
import { parsePaxTime } from '../../../lib/layer/pax.js'
import { TarFault } from '../../../lib/layer/tar-fault.js'
import { type Bytes, layer } from '../../../lib/testkit/layer.js'
import { collect, entriesOf, refusal } from './collect.js'

function withBody(data: Bytes) {
  return layer().member({ type: 'x', data }).member({ name: 'a' }).build()
}

function entryOf(...records: (readonly [Bytes, Bytes])[]) {
  return entriesOf(layer().pax(records).member({ name: 'a' }).build())[0]!
}

function causeOf(...records: (readonly [Bytes, Bytes])[]) {
  return refusal(() => entryOf(...records)).facts.cause
}

describe('records', () => {
  it('may hold newlines, equal signs, NULs and any bytes in their values', () => {
    const value = Buffer.from([...'a=b\n15 path=evil\n', '\0', '\xff'].map((char) => char.charCodeAt(0)))
    const entry = entryOf(['SCHILY.xattr.user.x', value], ['path', Buffer.from('n\n=\xe9', 'latin1')])
    expect(entry.path).toBe('n\n=\xe9')
    expect([...entry.xattrs]).toEqual([['user.x', value.toString('latin1')]])
  })

  it('count the last of several with one key', () => {
    expect(entryOf(['path', 'a'], ['path', 'b']).path).toBe('b')
    expect(entryOf(['path', 'b'], ['path', '']).path).toBe('a')
  })

  it('are passed over when their key says nothing that is kept', () => {
    const entry = entryOf(
      ['atime', 'x'],
      ['ctime', '1'],
      ['uname', 'root'],
      ['hdrcharset', 'BINARY'],
      ['comment', '\0'],
      ['RHT.security.selinux', 'label'],
      ['VENDOR.key', 'value'],
    )
    expect(entry).toMatchObject({ path: 'a', uid: 0 })
  })

  it('may be none', () => {
    expect(entriesOf(withBody(''))).toMatchObject([{ path: 'a' }])
  })

  it.each([
    ['path=b\n', 'its PAX header has a record without a usable length'],
    [' path=b\n', 'its PAX header has a record without a usable length'],
    ['7path=b\n', 'its PAX header has a record without a usable length'],
    ['10', 'a record of its PAX header is longer than the header'],
    ['2 path=b\n', 'its PAX header has a record without a usable length'],
    ['0 path=b\n', 'its PAX header has a record without a usable length'],
    ['-10 path=b\n', 'its PAX header has a record without a usable length'],
    ['+10 path=b\n', 'its PAX header has a record without a usable length'],
    ['0x0a path=b\n', 'its PAX header has a record without a usable length'],
    ['8 path=b\n', 'a record of its PAX header does not end with a newline'],
    ['11 path=b\n', 'a record of its PAX header is longer than the header'],
    ['99999999999999999999 path=b\n', 'a record of its PAX header is longer than the header'],
    ['9 path:b\n', 'its PAX header has a record without "="'],
    ['5 =b\n', 'its PAX header has a record without a key'],
    ['10 path=b\n\0\0', 'its PAX header has a record without a usable length'],
    ['10 path=b\n\n', 'its PAX header has a record without a usable length'],
  ])('refuses the body %j', (body, cause) => {
    expect(refusal(() => collect(withBody(body)))).toMatchObject({
      code: 'tar-invalid',
      facts: { cause, offset: 0 },
    })
  })

  it.each([
    ['path', 'a\0b', 'its PAX path "a\\x00b" has a NUL'],
    ['linkpath', '\0', 'its PAX linkpath "\\x00" has a NUL'],
    ['uid', '-1', 'its PAX uid "-1" is not a decimal number'],
    ['gid', '0x10', 'its PAX gid "0x10" is not a decimal number'],
    ['size', '-5', 'its PAX size "-5" is not a decimal number'],
    ['size', '1e3', 'its PAX size "1e3" is not a decimal number'],
    ['size', ' 1', 'its PAX size " 1" is not a decimal number'],
    ['mtime', 'now', 'its PAX mtime "now" is not a decimal number'],
    ['mtime', '1.2.3', 'its PAX mtime "1.2.3" is not a decimal number'],
    ['SCHILY.xattr.', 'x', 'its PAX record SCHILY.xattr. has no usable attribute name'],
    ['SCHILY.xattr.user.\0', 'x', 'its PAX header has a NUL in the key "SCHILY.xattr.user.\\x00"'],
  ])('refuses %s=%j', (key, value, cause) => {
    expect(causeOf([key, value])).toBe(cause)
  })

  it.each(['SUN.holesdata', 'SCHILY.realsize', 'SCHILY.offset', 'GNU.volume.offset'])(
    'refuses %s, which would change what the data mean',
    (key) => {
      expect(refusal(() => entryOf([key, '1']))).toMatchObject({ code: 'entry-refused' })
    },
  )

  it('cuts long values in messages', () => {
    expect(String(causeOf(['uid', 'x'.repeat(500_000)])).length).toBeLessThan(1200)
  })
})

describe('times', () => {
  const time = (text: string) => parsePaxTime(byteString(text))

  it.each([
    ['0', 0n, 0],
    ['-0', 0n, 0],
    ['1.5', 1n, 500_000_000],
    ['1.', 1n, 0],
    ['0001.000000001', 1n, 1],
    ['-1.5', -2n, 500_000_000],
    ['-0.000000001', -1n, 999_999_999],
    ['-1', -1n, 0],
    ['1.9999999999', 1n, 999_999_999],
    ['-1.0000000001', -2n, 999_999_999],
    ['-1.9999999999', -2n, 0],
    ['-1.00000000000', -1n, 0],
    ['9223372036854775807.999999999', 2n ** 63n - 1n, 999_999_999],
    ['-9223372036854775808', -(2n ** 63n), 0],
  ])('reads %s exactly, downwards', (text, seconds, nanoseconds) => {
    expect(time(text)).toEqual({ seconds, nanoseconds })
  })

  it.each(['9223372036854775808', '-9223372036854775808.1', '-9223372036854775809', `1${'0'.repeat(400)}`])(
    'refuses %s, which 64 bits do not hold',
    (text) => {
      expect(() => time(text)).toThrow(/^its PAX mtime ".*" does not fit into 64 bits$/)
    },
  )

  it.each(['', '+1', '.5', '-', '1,5', 'Infinity', '1e5', '١'])('refuses %j', (text) => {
    expect(() => time(text)).toThrow(TarFault)
  })

  it('is quick about a megabyte of zeros', () => {
    const started = performance.now()
    expect(() => time(`${'0'.repeat(1_000_000)}x`)).toThrow(TarFault)
    expect(time('0'.repeat(1_000_000))).toEqual({ seconds: 0n, nanoseconds: 0 })
    expect(performance.now() - started).toBeLessThan(1000)
  })
})

describe('extended attributes', () => {
  it('come from SCHILY records as they are, also empty ones', () => {
    const entry = entryOf(['SCHILY.xattr.user.b', ''], ['SCHILY.xattr.user.%41', '%42'])
    expect([...entry.xattrs]).toEqual([
      ['user.b', ''],
      ['user.%41', '%42'],
    ])
  })

  it('come from libarchive records decoded, and SCHILY wins', () => {
    const entry = entryOf(
      ['LIBARCHIVE.xattr.user.a%3D%e9', Buffer.from([0, 255, 10]).toString('base64')],
      ['LIBARCHIVE.xattr.user.both', 'bGliYXJjaGl2ZQ'],
      ['SCHILY.xattr.user.both', 'schily'],
    )
    expect(new Map(entry.xattrs)).toEqual(
      new Map([
        ['user.both', 'schily'],
        ['user.a=\xe9', '\0\xff\n'],
      ]),
    )
  })

  it.each(['', 'YQ', 'YQ==', 'YWI', 'YWI=', 'YWJj'])(
    'decode the base64 %j with or without padding',
    (value) => {
      const entry = entryOf(['LIBARCHIVE.xattr.user.a', value])
      expect(entry.xattrs.get('user.a' as ByteString)).toBe(Buffer.from(value, 'base64').toString('latin1'))
    },
  )

  it.each(['Y', 'YQ=', 'YQ===', 'Y Q=', 'Y-Q=', '='])('refuse %j, which is not base64', (value) => {
    expect(causeOf(['LIBARCHIVE.xattr.user.a', value])).toBe(
      'its PAX record LIBARCHIVE.xattr.user.a has a value that is not base64',
    )
  })

  it('refuse names that are broken or end up with a NUL', () => {
    expect(causeOf(['LIBARCHIVE.xattr.user.%4', ''])).toMatch(/broken escape/)
    expect(causeOf(['LIBARCHIVE.xattr.user.%00', ''])).toMatch(/no usable attribute name/)
    expect(causeOf(['LIBARCHIVE.xattr.', ''])).toMatch(/no usable attribute name/)
  })

  it('hold any value', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (value) => {
        const found = entryOf(['SCHILY.xattr.user.a', value]).xattrs.get('user.a' as ByteString)
        expect(found).toBe(Buffer.from(value).toString('latin1'))
      }),
    )
  })
})
