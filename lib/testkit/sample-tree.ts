/**
 * Trees to test with: one that every user can make, and one with everything that a layer can hold.
 */
import { type ByteString, byteString } from '../bytes.js'
import type { VerityDigest } from '../digest.js'
import {
  type Directory,
  type Inode,
  type Metadata,
  NO_CONTENT,
  NO_XATTRS,
  type RegularFile,
  type Tree,
} from '../tree/model.js'

/** Stores a content and says under which name. */
export type PutObject = (bytes: Uint8Array) => VerityDigest

const TIME = 1_600_000_000n

/** Files, directories, symlinks and hard links of the caller's own. */
export function smallTree(put: PutObject): Tree {
  const own = meta({ mode: 0o644, uid: process.geteuid?.() ?? 0, gid: process.getegid?.() ?? 0 })
  const large = file(own, Buffer.alloc(300_000, 'large '), put)
  return {
    root: directory({ ...own, mode: 0o755 }, [
      [
        'etc',
        directory({ ...own, mode: 0o750 }, [
          ['large', large],
          ['tiny', file(own, Buffer.from('tiny'), put)],
          ['empty', { ...own, kind: 'file', size: 0, content: NO_CONTENT }],
        ]),
      ],
      ['large-again', large],
      ['link', { ...own, mode: 0o777, kind: 'symlink', target: byteString('etc/large') }],
    ]),
  }
}

/** The largest numbers that Linux has for a device. XFS has fewer bits for them. */
export const LARGEST_DEVICE = { major: 4095, minor: 1_048_575 } as const
export const LARGEST_DEVICE_OF_XFS = { major: 511, minor: 262_143 } as const

/**
 * All seven file types, ids and times of full range, xattrs on every kind that can have them, names of any bytes.
 *
 * @param largest numbers of a device that the filesystem can keep
 */
export function sampleTree(
  put: PutObject,
  largest: { readonly major: number; readonly minor: number } = LARGEST_DEVICE,
): Tree {
  const root = meta({})
  const anyBytes = Array.from({ length: 255 }, (_, i) => String.fromCharCode(i + 1))
    .filter((char) => char !== '/')
    .join('')
  const linked = file(meta({ mode: 0o4755, uid: 12, gid: 34 }), Buffer.alloc(70_000, 'linked'), put)
  const fifo: Inode = { ...meta({ mode: 0o600 }), kind: 'fifo' }
  return {
    root: directory(meta({ mode: 0o755, mtimeSeconds: 1n, mtimeNanoseconds: 1 }), [
      [
        'bin',
        directory(meta({ mode: 0o1777, uid: 7 }), [
          ['setuid', linked],
          ['sgid', file(meta({ mode: 0o2711, gid: 4_000_000_000 }), Buffer.from('#!'), put)],
          ['none', file(meta({ mode: 0 }), Buffer.alloc(65, 'n'), put)],
        ]),
      ],
      ['closed', directory(meta({ mode: 0 }), [['inside', file(root, Buffer.from('x'), put)]])],
      ['hard', linked],
      [
        'dangling',
        { ...meta({ mode: 0o777, uid: 3 }), kind: 'symlink', target: byteString('../../../nowhere') },
      ],
      ['absolute', { ...meta({ mode: 0o777 }), kind: 'symlink', target: byteString('/etc/passwd') }],
      ['null', { ...meta({ mode: 0o666 }), kind: 'char', major: 1, minor: 3 }],
      ['large-numbers', { ...meta({ mode: 0o600 }), kind: 'block', ...largest }],
      ['fifo', fifo],
      ['fifo-again', fifo],
      ['socket', { ...meta({ mode: 0o755 }), kind: 'socket' }],
      [
        'attributes',
        file(
          meta({
            xattrs: xattrs([
              ['user.text', 'value'],
              ['user.bytes', '\0\u0001\u00ff\n'],
              ['user.empty', ''],
            ]),
          }),
          Buffer.from('a'),
          put,
        ),
      ],
      [
        'attributes.d',
        directory(
          meta({
            mode: 0o755,
            xattrs: xattrs([
              ['user.on-directory', 'yes'],
              ['trusted.mine', 'x'],
            ]),
          }),
          [],
        ),
      ],
      [
        'attributes.l',
        {
          ...meta({ mode: 0o777, xattrs: xattrs([['trusted.on-symlink', 'yes']]) }),
          kind: 'symlink',
          target: byteString('attributes'),
        },
      ],
      [
        'largest-ids',
        { ...meta({ uid: 4_294_967_294, gid: 4_294_967_294 }), kind: 'file', size: 0, content: NO_CONTENT },
      ],
      [
        'old',
        {
          ...meta({ mtimeSeconds: -86_400n, mtimeNanoseconds: 999_999_999 }),
          kind: 'file',
          size: 0,
          content: NO_CONTENT,
        },
      ],
      [
        'late',
        {
          ...meta({ mtimeSeconds: 6_000_000_000n, mtimeNanoseconds: 123_456_789 }),
          kind: 'file',
          size: 0,
          content: NO_CONTENT,
        },
      ],
      [byteString('\u00fcml\u00e4ut'), file(root, Buffer.from('utf-8'), put)],
      [anyBytes.slice(0, 127) as ByteString, file(root, Buffer.from('low bytes'), put)],
      [anyBytes.slice(127) as ByteString, file(root, Buffer.from('high bytes'), put)],
      ['x'.repeat(255), file(root, Buffer.from('long'), put)],
      ['block', file(root, Buffer.alloc(4096, 'b'), put)],
      ['deep', deep(60)],
    ]),
  }
}

function deep(levels: number): Directory {
  const own = meta({ mode: 0o755 })
  return directory(own, levels === 0 ? [] : [['d'.repeat(100), deep(levels - 1)]])
}

function meta(change: Partial<Metadata>): Metadata {
  return {
    mode: 0o644,
    uid: 0,
    gid: 0,
    mtimeSeconds: TIME,
    mtimeNanoseconds: 5,
    xattrs: NO_XATTRS,
    ...change,
  }
}

function file(own: Metadata, bytes: Uint8Array, put: PutObject): RegularFile {
  const content =
    bytes.length <= 64
      ? ({ kind: 'inline', bytes } as const)
      : ({ kind: 'object', digest: put(bytes) } as const)
  return { ...own, kind: 'file', size: bytes.length, content }
}

/** Names are ASCII or bytes already. */
function directory(own: Metadata, entries: readonly (readonly [string | ByteString, Inode])[]): Directory {
  return {
    ...own,
    kind: 'directory',
    children: new Map(entries.map(([name, inode]) => [name as ByteString, inode])),
  }
}

function xattrs(entries: readonly (readonly [string, string])[]): ReadonlyMap<ByteString, ByteString> {
  return new Map(entries.map(([name, value]) => [byteString(name), value as ByteString]))
}
