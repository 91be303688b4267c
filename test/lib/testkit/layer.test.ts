import { describe, expect, it } from 'vitest'
import { base256, LAYER_TIME, layer, paxBody, rawMember } from '../../../lib/testkit/layer.js'
import { collect } from '../layer/collect.js'

describe('layer()', () => {
  it('builds one of each kind', () => {
    const tar = layer()
      .dir('d', { mode: 0o700 })
      .file('d/f', 'text', {
        uid: 1000,
        gid: 1001,
        mtime: -5,
        mtimeNanoseconds: 7,
        xattrs: { 'user.a': 'ü' },
      })
      .symlink('s', '../x')
      .hardlink('h', 'd/f')
      .char('c', 1, 3)
      .block('b', 7, 0)
      .fifo('p')
      .whiteout('etc/motd')
      .whiteout('top')
      .opaque('d')
      .opaque('')
      .file(Buffer.from([0xff]), new Uint8Array([1, 2]))
      .build()
    const { members } = collect(tar)
    expect(
      members.map(({ entry, content }) => [
        entry.kind,
        entry.path,
        entry.mode,
        entry.linkPath,
        content.length,
      ]),
    ).toEqual([
      ['directory', 'd', 0o700, '', 0],
      ['file', 'd/f', 0o644, '', 4],
      ['symlink', 's', 0o777, '../x', 0],
      ['hardlink', 'h', 0o644, 'd/f', 0],
      ['char', 'c', 0o600, '', 0],
      ['block', 'b', 0o600, '', 0],
      ['fifo', 'p', 0o600, '', 0],
      ['file', 'etc/.wh.motd', 0, '', 0],
      ['file', '.wh.top', 0, '', 0],
      ['file', 'd/.wh..wh..opq', 0, '', 0],
      ['file', '.wh..wh..opq', 0, '', 0],
      ['file', '\xff', 0o644, '', 2],
    ])
    expect(members[0]!.entry.mtimeSeconds).toBe(BigInt(LAYER_TIME))
    expect(members[1]!.entry).toMatchObject({
      uid: 1000,
      gid: 1001,
      mtimeSeconds: -5n,
      mtimeNanoseconds: 7,
      xattrs: new Map([['user.a', '\xc3\xbc']]),
    })
    expect(members[4]!.entry).toMatchObject({ major: 1, minor: 3 })
  })

  it('ends with two blocks of zeros, or not at all', () => {
    expect(layer().build()).toEqual(Buffer.alloc(1024))
    expect(layer().dir('a').buildWithoutEnd()).toHaveLength(512)
  })
})

describe('rawMember', () => {
  it('writes fields as they are given', () => {
    const block = Buffer.from(
      rawMember({
        name: 'n',
        mode: 'mode',
        uid: new Uint8Array([1, 2]),
        gid: -1,
        size: 8 ** 11,
        mtime: 5n,
        type: '\xff',
        link: 'l',
        magic: Buffer.from('magic'),
        major: 0,
        prefix: 'p',
        patch: [[500, 'tail']],
        checksum: 'sum',
      }),
    )
    expect(block).toHaveLength(512)
    const field = (at: number, length: number) => block.toString('latin1', at, at + length)
    expect(field(100, 8)).toBe('mode\0\0\0\0')
    expect(field(108, 8)).toBe('\x01\x02\0\0\0\0\0\0')
    expect(field(116, 8)).toBe('\xff'.repeat(8))
    expect(field(124, 12)).toBe(Buffer.from('800000000000000200000000', 'hex').toString('latin1'))
    expect(field(136, 12)).toBe(Buffer.from('800000000000000000000005', 'hex').toString('latin1'))
    expect(field(148, 8)).toBe('sum\0\0\0\0\0')
    expect(field(156, 2)).toBe('\xffl')
    expect(field(257, 8)).toBe('magic\0\0\0')
    expect(field(329, 8)).toBe('0000000\0')
    expect(field(345, 2)).toBe('p\0')
    expect(field(500, 4)).toBe('tail')
  })

  it('pads its data, unless padding is given', () => {
    expect(rawMember({ data: 'abc' })).toHaveLength(1024)
    expect(rawMember({ data: 'abc', padding: '' })).toHaveLength(515)
  })

  it('does not cut what is too long for a field', () => {
    expect(() => rawMember({ name: 'n'.repeat(101) })).toThrow(RangeError)
  })
})

describe('the parts of headers', () => {
  it('are PAX records that count their own length', () => {
    expect(
      paxBody([
        ['a', ''],
        ['path', 'b'],
        ['k', 'v'.repeat(92)],
      ]).toString(),
    ).toBe(`5 a=\n9 path=b\n98 k=${'v'.repeat(92)}\n`)
    expect(paxBody([['k', 'v'.repeat(94)]]).toString()).toBe(`101 k=${'v'.repeat(94)}\n`)
  })

  it('are base-256 numbers', () => {
    expect(base256(255n, 8)).toEqual(Buffer.from('80000000000000ff', 'hex'))
    expect(base256(-2n, 8)).toEqual(Buffer.from('fffffffffffffffe', 'hex'))
  })
})
