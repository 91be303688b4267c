/**
 * What was read of the files of a batch, packed for its way from thread to thread: a row of numbers and a digest for each
 * file. A copy of an object with all its fields costs about as much as reading a small file.
 */
import type { FileStat } from '../linux/stat.js'
import { NO_XATTRS, type Xattrs } from '../tree/model.js'
import type { FileContent, FileRecord } from './scan-files.js'

/** Plain data; `rows` is handed over. */
export interface PackedRecords {
  readonly count: number
  readonly rows: Uint8Array<ArrayBuffer>
  /** Of files that have any, by their place. */
  readonly xattrs: readonly (readonly [index: number, xattrs: Xattrs])[]
}

const ROW_BYTES = 144
const AT = {
  size: 0,
  blocks: 8,
  mtimeSeconds: 16,
  device: 24,
  inode: 32,
  mode: 40,
  uid: 44,
  gid: 48,
  mtimeNanoseconds: 52,
  nlink: 56,
  kind: 60,
  staged: 64,
  length: 68,
  bytes: 72,
} as const
const KINDS = ['empty', 'inline', 'object'] as const

export function packRecords(records: readonly FileRecord[]): PackedRecords {
  const rows = new Uint8Array(records.length * ROW_BYTES)
  const view = new DataView(rows.buffer)
  const bytes = Buffer.from(rows.buffer)
  const xattrs: [number, Xattrs][] = []
  records.forEach((record, i) => {
    if (record.xattrs.size > 0) xattrs.push([i, record.xattrs])
    const { stat, content } = record
    const at = i * ROW_BYTES
    view.setFloat64(at + AT.size, stat.size)
    view.setFloat64(at + AT.blocks, stat.blocks)
    view.setBigInt64(at + AT.mtimeSeconds, stat.mtimeSeconds)
    view.setFloat64(at + AT.device, stat.device)
    view.setBigUint64(at + AT.inode, stat.inode)
    view.setUint32(at + AT.mode, stat.mode)
    view.setUint32(at + AT.uid, stat.uid)
    view.setUint32(at + AT.gid, stat.gid)
    view.setUint32(at + AT.mtimeNanoseconds, stat.mtimeNanoseconds)
    view.setUint32(at + AT.nlink, stat.nlink)
    view.setUint32(at + AT.kind, KINDS.indexOf(content.kind))
    view.setUint32(at + AT.staged, record.staged ? 1 : 0)
    view.setUint32(at + AT.length, putContent(bytes, at + AT.bytes, content))
  })
  return { count: records.length, rows, xattrs }
}

export function unpackRecords({ count, rows, xattrs }: PackedRecords): FileRecord[] {
  const view = new DataView(rows.buffer, rows.byteOffset)
  const bytes = Buffer.from(rows.buffer, rows.byteOffset)
  const xattrsOf = new Map(xattrs)
  return Array.from({ length: count }, (_, i) => {
    const at = i * ROW_BYTES
    return {
      stat: unpackStat(view, at),
      content: unpackContent(view, bytes, at),
      xattrs: xattrsOf.get(i) ?? NO_XATTRS,
      staged: view.getUint32(at + AT.staged) === 1,
    }
  })
}

/** @returns bytes taken */
function putContent(bytes: Buffer, at: number, content: FileContent): number {
  switch (content.kind) {
    case 'empty':
      return 0
    case 'inline':
      return content.bytes.copy(bytes, at)
    case 'object':
      return bytes.write(content.digest, at, 'hex')
    default:
      return content satisfies never
  }
}

function unpackContent(view: DataView, bytes: Buffer, at: number): FileContent {
  const start = at + AT.bytes
  const end = start + view.getUint32(at + AT.length)
  switch (KINDS[view.getUint32(at + AT.kind)]) {
    case 'inline':
      return { kind: 'inline', bytes: Buffer.from(bytes.subarray(start, end)) }
    case 'object':
      return { kind: 'object', digest: bytes.toString('hex', start, end) }
    default:
      return { kind: 'empty' }
  }
}

function unpackStat(view: DataView, at: number): FileStat {
  return {
    kind: 'file',
    size: view.getFloat64(at + AT.size),
    blocks: view.getFloat64(at + AT.blocks),
    mtimeSeconds: view.getBigInt64(at + AT.mtimeSeconds),
    mtimeNanoseconds: view.getUint32(at + AT.mtimeNanoseconds),
    device: view.getFloat64(at + AT.device),
    inode: view.getBigUint64(at + AT.inode),
    mode: view.getUint32(at + AT.mode),
    uid: view.getUint32(at + AT.uid),
    gid: view.getUint32(at + AT.gid),
    nlink: view.getUint32(at + AT.nlink),
    major: 0,
    minor: 0,
    mountId: null,
    isMountRoot: null,
  }
}
