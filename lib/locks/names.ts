/**
 * Names of locks, and of the files that stand for them.
 *
 * Ids come from users and digests from images, so a file name is built from a few harmless characters only. Two ids
 * that differ, also only in case, give two files.
 */
import { hash } from 'node:crypto'

export type LockKind = 'gc' | 'bundle' | 'base' | 'layer' | 'task'

const SUFFIX = '.lock'
const MAX_ESCAPED = 200 // leaves room for kind and suffix in the 255 bytes of a file name

/** `bundle/web-1`, `layer/sha256:ab12…`, `gc`: what people read. */
export function lockName(kind: LockKind, id: string): string {
  return kind === 'gc' ? 'gc' : `${kind}/${id}`
}

/** `bundle-web-1.lock`, `layer-sha256-ab12….lock`, `gc.lock`. */
export function guardFileName(kind: LockKind, id: string): string {
  return kind === 'gc' ? `gc${SUFFIX}` : `${kind}-${escapeId(id)}${SUFFIX}`
}

export function isGuardFileName(name: string): boolean {
  return /^(?:gc|(?:bundle|base|layer|task)-[a-z0-9._-]*)\.lock$/.test(name)
}

/** The name as well as the file name tells it, for a guard that does not say. */
export function lockNameOfFile(fileName: string): string {
  const stem = fileName.slice(0, -SUFFIX.length)
  return stem.replace('-', '/')
}

/** Each byte but `a-z 0-9 . -` as `_` and two hex digits; the colon of digests as `-`; what gets too long as its hash. */
function escapeId(id: string): string {
  const bytes = Buffer.from(id, 'utf8').toString('latin1')
  const escaped = bytes.replace(/[^a-z0-9.:-]/g, hex).replaceAll(':', '-')
  if (escaped.length <= MAX_ESCAPED) return escaped
  // No escaped id has two underscores in a row, so this is nobody else's name.
  return `__${hash('sha256', id, 'hex')}`
}

function hex(char: string): string {
  return `_${char.charCodeAt(0).toString(16).padStart(2, '0')}`
}
