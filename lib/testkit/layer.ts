/**
 * Layers for tests, built in the test: `layer().file('bin/sh', '…').whiteout('etc/motd').build()`.
 *
 * Well-formed members have methods of their own; anything else, however broken, goes in by `member` and `raw`.
 */
import { type ByteString, byteString, fromBytes, toBytes } from '../bytes.js'
import type { TarEntry, TarKind } from '../layer/entry.js'
import { TAR_END, tarHeader, tarPadding } from '../layer/write-tar.js'
import { type Bytes, bytesOf, paxBody, type RawMember, rawMember } from './tar-bytes.js'

export type { Bytes, RawMember, TarNumber } from './tar-bytes.js'
export { base256, paxBody, rawMember } from './tar-bytes.js'

export interface MemberOptions {
  /** 0644 for files, 0755 for directories, 0777 for symlinks, 0600 for devices and fifos, unless given. */
  readonly mode?: number
  readonly uid?: number
  readonly gid?: number
  /** Seconds; LAYER_TIME unless given. */
  readonly mtime?: number | bigint
  readonly mtimeNanoseconds?: number
  readonly xattrs?: Readonly<Record<string, Bytes>>
}

/** The time of members without one; not 0, which is what directories that no layer names have. */
export const LAYER_TIME = 1_500_000_000

export interface SparseContent {
  /** Bytes of the whole file. */
  readonly size: number
  /** What is not a hole, ascending. */
  readonly runs: readonly (readonly [offset: number, data: Bytes])[]
}

/** `old` is GNU's header type S, the others are GNU's PAX forms. */
export type SparseForm = 'old' | '0.0' | '0.1' | '1.0'

export function layer(): LayerBuilder {
  return new LayerBuilder()
}

/** Names are text, written as UTF-8, or bytes. */
export class LayerBuilder {
  readonly #parts: Uint8Array[] = []

  file(name: Bytes, content: Bytes = '', options: MemberOptions = {}): this {
    const data = bytesOf(content)
    return this.#add('file', name, 0o644, options, { size: data.length }).#data(data)
  }

  dir(name: Bytes, options: MemberOptions = {}): this {
    return this.#add('directory', name, 0o755, options)
  }

  symlink(name: Bytes, target: Bytes, options: MemberOptions = {}): this {
    return this.#add('symlink', name, 0o777, options, { linkPath: nameOf(target) })
  }

  hardlink(name: Bytes, target: Bytes, options: MemberOptions = {}): this {
    return this.#add('hardlink', name, 0o644, options, { linkPath: nameOf(target) })
  }

  char(name: Bytes, major: number, minor: number, options: MemberOptions = {}): this {
    return this.#add('char', name, 0o600, options, { major, minor })
  }

  block(name: Bytes, major: number, minor: number, options: MemberOptions = {}): this {
    return this.#add('block', name, 0o600, options, { major, minor })
  }

  fifo(name: Bytes, options: MemberOptions = {}): this {
    return this.#add('fifo', name, 0o600, options)
  }

  /** Hides a path of the layers below. */
  whiteout(path: Bytes): this {
    const whole = nameOf(path)
    const slash = whole.lastIndexOf('/') + 1
    return this.file(toBytes(`${whole.slice(0, slash)}.wh.${whole.slice(slash)}` as ByteString), '', {
      mode: 0,
    })
  }

  /** Hides all that the layers below have in a directory; empty for the root. */
  opaque(directory: Bytes): this {
    const path = nameOf(directory)
    return this.file(toBytes(`${path}${path === '' ? '' : '/'}.wh..wh..opq` as ByteString), '', { mode: 0 })
  }

  sparse(name: Bytes, content: SparseContent, form: SparseForm, options: Pick<RawMember, 'mode'> = {}): this {
    return this.raw(sparseMember(name, content, form, options))
  }

  /** A PAX header for the next member, whatever that is. */
  pax(records: readonly (readonly [key: Bytes, value: Bytes])[]): this {
    return this.member({ name: 'pax', type: 'x', data: paxBody(records) })
  }

  /** A PAX header for all members from here on. */
  globalPax(records: readonly (readonly [key: Bytes, value: Bytes])[]): this {
    return this.member({ name: 'global', type: 'g', data: paxBody(records) })
  }

  /** A GNU long name (`L`) or long link target (`K`) for the next member. */
  long(type: 'L' | 'K', name: Bytes): this {
    const data = Buffer.concat([bytesOf(name), Buffer.from([0])])
    return this.member({ name: '././@LongLink', type, magic: 'gnu', data })
  }

  /** A member with every field as it is given. */
  member(fields: RawMember): this {
    return this.raw(rawMember(fields))
  }

  /** Bytes as they are. */
  raw(bytes: Uint8Array): this {
    this.#parts.push(bytes)
    return this
  }

  /** The tar with its end blocks. */
  build(): Uint8Array {
    return Buffer.concat([...this.#parts, TAR_END])
  }

  /** The tar as far as it goes. */
  buildWithoutEnd(): Uint8Array {
    return Buffer.concat(this.#parts)
  }

  #add(kind: TarKind, name: Bytes, mode: number, options: MemberOptions, more: Partial<TarEntry> = {}): this {
    const xattrs = new Map<ByteString, ByteString>()
    for (const [key, value] of Object.entries(options.xattrs ?? {}))
      xattrs.set(byteString(key), nameOf(value))
    const header = tarHeader({
      kind,
      path: nameOf(name),
      linkPath: '' as ByteString,
      mode: options.mode ?? mode,
      uid: options.uid ?? 0,
      gid: options.gid ?? 0,
      mtimeSeconds: BigInt(options.mtime ?? LAYER_TIME),
      mtimeNanoseconds: options.mtimeNanoseconds ?? 0,
      size: 0,
      major: 0,
      minor: 0,
      xattrs,
      ...more,
    })
    return this.raw(header)
  }

  #data(bytes: Uint8Array): this {
    return this.raw(bytes).raw(tarPadding(bytes.length))
  }
}

/** The bytes of a name as layers keep them. */
function nameOf(name: Bytes): ByteString {
  return typeof name === 'string' ? byteString(name) : fromBytes(name)
}

function sparseMember(
  name: Bytes,
  content: SparseContent,
  form: SparseForm,
  more: Pick<RawMember, 'mode'>,
): Uint8Array {
  const runs = content.runs.map(([offset, data]) => ({ offset, data: bytesOf(data) }))
  const data = Buffer.concat(runs.map((run) => run.data))
  const numbers = runs.flatMap((run) => [run.offset, run.data.length])
  if (form === 'old') return oldSparseMember(name, content.size, numbers, data, more)
  const pax = (records: readonly (readonly [string, Bytes])[], body: Uint8Array): Uint8Array =>
    Buffer.concat([
      rawMember({ name: 'pax', type: 'x', data: paxBody(records) }),
      rawMember({ ...more, name: 'GNUSparseFile/stub', data: body }),
    ])
  const size = String(content.size)
  const count = ['GNU.sparse.numblocks', String(runs.length)] as const
  switch (form) {
    case '0.0': {
      const keys = ['GNU.sparse.offset', 'GNU.sparse.numbytes']
      const pairs = numbers.map((number, i) => [keys[i % 2]!, String(number)] as const)
      return pax([['path', name], ['GNU.sparse.size', size], count, ...pairs], data)
    }
    case '0.1': {
      const map = ['GNU.sparse.map', numbers.join(',')] as const
      return pax([['GNU.sparse.size', size], count, ['GNU.sparse.name', name], map], data)
    }
    case '1.0': {
      const map = Buffer.from(`${[runs.length, ...numbers].join('\n')}\n`)
      const records = [
        ['GNU.sparse.major', '1'],
        ['GNU.sparse.minor', '0'],
        ['GNU.sparse.name', name],
        ['GNU.sparse.realsize', size],
      ] as const
      return pax(records, Buffer.concat([map, tarPadding(map.length), data]))
    }
    default:
      return form satisfies never
  }
}

const OLD_HEADER_SLOTS = 4
const OLD_EXTENSION_SLOTS = 21

function oldSparseMember(
  name: Bytes,
  size: number,
  numbers: readonly number[],
  data: Uint8Array,
  more: Pick<RawMember, 'mode'>,
): Uint8Array {
  const octal = (number: number): string => `${number.toString(8).padStart(11, '0')}\0`
  const slots = numbers.map(octal)
  const own = slots.slice(0, OLD_HEADER_SLOTS * 2)
  const blocks: Uint8Array[] = []
  for (let i = own.length; i < slots.length; i += OLD_EXTENSION_SLOTS * 2) {
    const block = Buffer.alloc(512)
    block.write(slots.slice(i, i + OLD_EXTENSION_SLOTS * 2).join(''), 'latin1')
    block[504] = i + OLD_EXTENSION_SLOTS * 2 < slots.length ? 1 : 0
    blocks.push(block)
  }
  const isExtended = Buffer.from([blocks.length > 0 ? 1 : 0])
  return rawMember({
    ...more,
    name,
    type: 'S',
    magic: 'gnu',
    size: data.length,
    patch: [
      [386, own.join('')],
      [482, isExtended],
      [483, octal(size)],
    ],
    data: Buffer.concat([...blocks, data]),
    padding: tarPadding(data.length),
  })
}
