/**
 * Faults of nodes and of image bytes, as found by the parts of this room that do not know the node's path.
 *
 * They stay inside this room: who knows the path makes an ImageError of them.
 */
import { type ByteString, printable } from '../bytes.js'
import { ImageError } from '../errors.js'

/** What the C library's errno would be, for callers that pass it on. */
export type NodeErrno =
  | 'EINVAL'
  | 'EFBIG'
  | 'ERANGE'
  | 'ELOOP'
  | 'ENAMETOOLONG'
  | 'EEXIST'
  | 'ENOTDIR'
  | 'EMLINK'
  | 'ENOENT'

/** Something that no image can hold. The message is the cause: what was found, and what would be right. */
export class NodeFault extends Error {
  readonly errno: NodeErrno

  constructor(errno: NodeErrno, cause: string) {
    super(cause)
    this.errno = errno
  }
}

/** Bytes that no image has. The message is the cause. */
export class ImageFault extends Error {
  /** Where in the image, in bytes. */
  readonly offset: number

  constructor(offset: number, cause: string) {
    super(cause)
    this.offset = offset
  }
}

const MAX_SHOWN_CHARS = 1024 // hostile names can be long, and messages end in logs

/** A name or value as people read it, cut when it is very long. */
export function shown(value: ByteString): string {
  if (value.length <= MAX_SHOWN_CHARS) return printable(value)
  return `${printable(value.slice(0, MAX_SHOWN_CHARS) as ByteString)}…`
}

export function refused(path: ByteString, fault: NodeFault): ImageError {
  const cause = fault.message
  return new ImageError('composefs-refused', `Cannot write "${shown(path)}" to a composefs image: ${cause}`, {
    facts: { path: shown(path), cause, errno: fault.errno },
  })
}
