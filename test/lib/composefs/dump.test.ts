import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { byteString } from '../../../lib/bytes.js'
import { type DumpOptions, DumpParser, parseDump } from '../../../lib/composefs/dump-parse.js'
import { writeDump } from '../../../lib/composefs/dump-write.js'
import type { ComposefsNode } from '../../../lib/composefs/node.js'
import { backed, bytesOf, directory, inline, node, randomTree, symlink, whiteout } from './random-nodes.js'

const ROOT = '/ 0 40755 2 0 0 0 0.0 - - -'
const DIGEST = 'ab'.padStart(64, '0')
const LONG_DIGEST = 'ab'.padStart(128, '0')

function parse(lines: readonly string[], options?: DumpOptions): ComposefsNode {
  return parseDump(Buffer.from(`${lines.join('\n')}\n`, 'latin1'), options)
}

function entry(root: ComposefsNode, name: string): unknown {
  return root.children!.get(byteString(name))
}

function textOf(root: ComposefsNode, options = {}): string {
  return [...writeDump(root, options)].join('')
}

describe('a dump that is parsed', () => {
  it('gives all that its lines say', () => {
    const root = parse([
      ROOT,
      `/f 5 100644 3 1 2 0 -7.9 ab/cd - ${DIGEST} user.a=x\\x3d security.b=`,
      '/i 3 100600 1 0 0 0 1.0 - \\x00\\n\\\\ -',
      '/l 9 120777 1 0 0 0 1.0 target - -',
      '/c 0 20600 1 0 0 1281 1.0 - - -',
      '/h 0 @100644 1 0 0 0 0.0 /f - -',
    ])
    const file = node({
      size: 5,
      nlink: 3,
      uid: 1,
      gid: 2,
      mtimeSeconds: -7n,
      mtimeNanoseconds: 9,
      payload: byteString('ab/cd'),
      digest: DIGEST as ComposefsNode['digest'],
      xattrs: new Map([
        [byteString('user.a'), byteString('x=')],
        [byteString('security.b'), byteString('')],
      ]),
    })
    const later = { mtimeSeconds: 1n }
    expect(entry(root, 'f')).toEqual(file)
    expect(entry(root, 'i')).toEqual(
      node({ ...later, mode: 0o600, size: 3, content: Buffer.from([0, 10, 92]) }),
    )
    expect(entry(root, 'l')).toEqual({ ...symlink('target'), ...later })
    expect(entry(root, 'c')).toEqual(node({ ...later, kind: 'char', mode: 0o600, rdev: 1281 }))
    expect(entry(root, 'h')).toEqual({ kind: 'link', target: file })
  })

  it.each<[string, string, string]>([
    ['a line without all fields', '/a 0 100644 1 0 0 0 0.0 - -', 'EINVAL'],
    ['an empty line', '', 'EINVAL'],
    ['a raw NUL', '/a\0 0 100644 1 0 0 0 0.0 - - -', 'EINVAL'],
    ['a mode that is not octal', '/a 0 100648 1 0 0 0 0.0 - - -', 'EINVAL'],
    ['a mode of no type', '/a 0 644 1 0 0 0 0.0 - - -', 'EINVAL'],
    ['a time without nanoseconds', '/a 0 100644 1 0 0 0 5 - - -', 'EINVAL'],
    ['a digest that is too short', `/a 5 100644 1 0 0 0 0.0 ab/c - ${DIGEST.slice(1)}`, 'EINVAL'],
    ['a digest that is none', `/a 5 100644 1 0 0 0 0.0 ab/c - ${'g'.repeat(64)}`, 'EINVAL'],
    ['a content of another size', '/a 5 100644 1 0 0 0 0.0 - abc -', 'EINVAL'],
    ['a name of dots', '/.. 0 100644 1 0 0 0 0.0 - - -', 'EINVAL'],
    ['what stands in no directory', '/x/a 0 100644 1 0 0 0 0.0 - - -', 'ENOENT'],
    ['a link to nothing', '/a 0 @100644 1 0 0 0 0.0 /b - -', 'ENOENT'],
    ['a link without a target', '/a 0 @100644 1 0 0 0 0.0 - - -', 'EINVAL'],
    ['a link to itself', '/a 0 @100644 1 0 0 0 0.0 /a - -', 'ELOOP'],
    ['a link to the root', '/a 0 @100644 1 0 0 0 0.0 / - -', 'EINVAL'],
    ['a link that is a directory', '/a 0 @40755 1 0 0 0 0.0 / - -', 'EINVAL'],
    ['an unfinished escape', '/a 0 100644 1 0 0 0 0.0 - - - user.a=\\x4', 'EINVAL'],
    ['an escape that is none', '/a\\q 0 100644 1 0 0 0 0.0 - - -', 'EINVAL'],
  ])('is refused for %s, with the number of the line', (_, line, errno) => {
    expect(() => parse([ROOT, line])).toThrow(
      expect.objectContaining({
        code: 'dump-invalid',
        facts: expect.objectContaining({ line: 2, errno }),
      }),
    )
  })

  it('follows links to links, and refuses them in a circle', () => {
    const link = (name: string, target: string) => `/${name} 0 @100644 1 0 0 0 0.0 /${target} - -`
    const root = parse([ROOT, link('a', 'b'), link('b', 'c'), '/c 0 100644 3 0 0 0 0.0 - - -'])
    expect([entry(root, 'a'), entry(root, 'b')]).toEqual(
      ['a', 'b'].map(() => ({ kind: 'link', target: entry(root, 'c') })),
    )
    expect(() => parse([ROOT, link('a', 'b'), link('b', 'c'), link('c', 'a')])).toThrow(
      expect.objectContaining({ facts: expect.objectContaining({ errno: 'ELOOP' }) }),
    )
  })

  it('is the same in whatever pieces it comes', () => {
    const text = Buffer.from(textOf(sampleTree()), 'latin1')
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 200 }), { maxLength: 40 }), (lengths) => {
        const parser = new DumpParser()
        const piece = Buffer.alloc(200) // used again and again, as readers of files do
        let at = 0
        for (const length of lengths) {
          const end = Math.min(at + length, text.length)
          parser.push(piece.subarray(0, text.copy(piece, 0, at, end)))
          at = end
        }
        parser.push(text.subarray(at))
        expect(textOf(parser.end())).toBe(text.toString('latin1'))
      }),
      { numRuns: 100 },
    )
  })

  it('is taken byte by byte without keeping more than a line', () => {
    const parser = new DumpParser()
    const content = 'c'.repeat(4000)
    const text = Buffer.from(`${ROOT}\n/a 4000 100644 1 0 0 0 0.0 - ${content} -\n`)
    for (const byte of text) parser.push(Uint8Array.of(byte))
    expect(entry(parser.end(), 'a')).toEqual(node({ size: 4000, content: Buffer.from(content) }))
  })

  it('ends a line at 8 MiB, in one piece and in many', () => {
    const piece = Buffer.alloc(1024 * 1024, 'a')
    const push = (parser: DumpParser): void => {
      for (let i = 0; i < 9; i++) parser.push(piece)
    }
    const tooLong = expect.objectContaining({
      code: 'dump-invalid',
      facts: expect.objectContaining({ line: 1, errno: 'ENAMETOOLONG' }),
    })
    expect(() => push(new DumpParser())).toThrow(tooLong)
    expect(() => parseDump(Buffer.concat([...Array(9).fill(piece), Buffer.from('\n')]))).toThrow(tooLong)
  })

  it('of SHA-512 digests has 128 digits in each, and no others', () => {
    const line = (digest: string) => `/a 5 100644 1 0 0 0 0.0 ab/c - ${digest}`
    expect(entry(parse([ROOT, line(LONG_DIGEST.toUpperCase())], { algorithm: 'sha512' }), 'a')).toEqual(
      node({ size: 5, payload: byteString('ab/c'), digest: LONG_DIGEST as ComposefsNode['digest'] }),
    )
    expect(() => parse([ROOT, line(DIGEST)], { algorithm: 'sha512' })).toThrow()
    expect(() => parse([ROOT, line(LONG_DIGEST)])).toThrow()
  })
})

describe('a dump that is parsed strictly', () => {
  const link = '/l 6 120777 1 0 0 0 0.0 target - -'

  it('is what it is without strictness, when nothing is untidy', () => {
    const lines = [ROOT, link, '/d 0 20600 1 0 0 5 0.0 - - -', '/i 1 100600 1 0 0 0 0.0 - x -']
    expect(parse(lines, { strict: true })).toEqual(parse(lines))
  })

  it.each([
    ['a symlink whose size is not that of its target', link.replace(' 6 ', ' 7 ')],
    ['a symlink with content', '/l 6 120777 1 0 0 0 0.0 target abcdef -'],
    ['a file with a device number', '/f 0 100644 1 0 0 5 0.0 - - -'],
    ['a fifo with a device number', '/f 0 10644 1 0 0 5 0.0 - - -'],
    ['a file with a device number of more than 32 bits', '/f 0 100644 1 0 0 4294967296 0.0 - - -'],
    ['a file with a device number of 64 bits', '/f 0 100644 1 0 0 18446744069414584320 0.0 - - -'],
    ['a directory with a device number', '/f 0 40755 2 0 0 5 0.0 - - -'],
  ])('is refused for %s', (_, line) => {
    expect(() => parse([ROOT, line])).not.toThrow()
    expect(() => parse([ROOT, line], { strict: true })).toThrow(
      expect.objectContaining({
        code: 'dump-invalid',
        facts: expect.objectContaining({ line: 2, errno: 'EINVAL' }),
      }),
    )
  })

  it('is refused when the last line does not end', () => {
    const text = Buffer.from(ROOT)
    expect(parseDump(text)).toEqual(directory({}, { nlink: 2 }))
    expect(() => parseDump(text, { strict: true })).toThrow(
      expect.objectContaining({ code: 'dump-invalid', facts: expect.objectContaining({ line: 1 }) }),
    )
  })
})

describe('a dump that is written', () => {
  it('escapes what is not printable, and a lone dash', () => {
    const root = directory(
      {},
      {
        children: new Map([
          [bytesOf(0x20, 0x3d, 0x5c, 0x0a, 0x0d, 0x09, 0xff), inline(1, 0x2d)],
          [byteString('l'), symlink('-')],
          [byteString('x'), node({ xattrs: new Map([[byteString('user.='), bytesOf(0x3d, 0x2d, 0x00)]]) })],
        ]),
      },
    )
    expect(textOf(root).split('\n').slice(1)).toEqual([
      '/\\x20=\\\\\\n\\r\\t\\xff 1 100644 1 0 0 0 0.0 - \\x2d -',
      '/l 1 120777 1 0 0 0 0.0 \\x2d - -',
      '/x 0 100644 1 0 0 0 0.0 - - - user.\\x3d=\\x3d-\\x00',
      '',
    ])
  })

  it('names the node where it is stored, or where it stands first', () => {
    const file = backed(9, DIGEST, { nlink: 2 })
    const root = directory({ a: { kind: 'link', target: file }, b: file })
    const modes = (text: string) =>
      text
        .split('\n')
        .slice(1, 3)
        .map((line) => line.split(' ')[2])
    expect(modes(textOf(root))).toEqual(['@100644', '100644'])
    expect(modes(textOf(root, { hardLinks: 'first' }))).toEqual(['100644', '@100644'])
  })

  it('reads back to the same text, strictly', () => {
    let read = 0
    fc.assert(
      fc.property(randomTree(), (tree) => {
        const text = textOf(tree)
        let again: ComposefsNode
        try {
          again = parseDump(Buffer.from(text, 'latin1'), { strict: true })
        } catch {
          return // no image can hold the tree
        }
        read++
        expect(textOf(again)).toBe(text)
      }),
      { numRuns: 100 },
    )
    expect(read).toBeGreaterThan(40)
  })
})

function sampleTree(): ComposefsNode {
  return directory({
    d: directory({ inner: backed(123_456, DIGEST), 'odd\tname': node(), gone: whiteout() }),
    l: symlink('somewhere/else'),
    t: inline(60),
    x: node({ xattrs: new Map([[byteString('user.x'), bytesOf(0, 1, 2, 255)]]) }),
  })
}
