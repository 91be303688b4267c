/**
 * Errors of system calls, shaped like those of Node's fs: `code`, `errno`, `syscall`, `path`.
 *
 * Which of them mean something to the caller is decided where the call is made; lib/errors.ts turns the rest into
 * SystemErrors.
 */
import { constants } from 'node:os'
import { getSystemErrorName } from 'node:util'
import { type ByteString, printable } from '../bytes.js'
import type { ErrnoError } from '../errors.js'
import { calls } from './calls.js'

/** The numbers by name, for what is compared on the way, before there is an error object. */
export const ERRNO = constants.errno

/** The numbers that neither libuv nor Node's own table has a name for (asm-generic/errno.h). */
const RARE_NAMES: Readonly<Record<number, string>> = {
  15: 'ENOTBLK',
  66: 'EREMOTE',
  77: 'EBADFD',
  85: 'ERESTART',
  87: 'EUSERS',
  108: 'ESHUTDOWN',
  117: 'EUCLEAN',
  121: 'EREMOTEIO',
  123: 'ENOMEDIUM',
  124: 'EMEDIUMTYPE',
  126: 'ENOKEY',
  127: 'EKEYEXPIRED',
  128: 'EKEYREVOKED',
  129: 'EKEYREJECTED',
  130: 'EOWNERDEAD',
  131: 'ENOTRECOVERABLE',
  133: 'EHWPOISON',
}

/** `ENOSPC` for 28. As Node has it: ENOTSUP for 95, EAGAIN for 11. */
export function errnoName(errno: number): string {
  const known = errno > 0 ? getSystemErrorName(-errno) : ''
  if (/^E[A-Z0-9]+$/.test(known)) return known
  for (const [name, value] of Object.entries(constants.errno)) if (value === errno) return name
  return RARE_NAMES[errno] ?? `E${errno}`
}

/**
 * Makes the error for a call that failed: `ENOSPC: no space left on device, openat 'etc/motd'`.
 *
 * @param errno the positive number
 * @param path bytes of the path or name; shown and kept in printable form
 */
export function errnoError(errno: number, syscall: string, path?: ByteString): ErrnoError {
  return build(
    errnoName(errno),
    errno,
    reasonOf(errno),
    syscall,
    path === undefined ? undefined : printable(path),
  )
}

/** The same error for another path: of the whole way down to a file instead of its last name. */
export function withPath(error: ErrnoError, path: ByteString): ErrnoError {
  const errno = Math.abs((error as { errno?: number }).errno ?? 0)
  const moved = build(error.code, errno, reasonOf(errno), error.syscall ?? 'call', printable(path))
  moved.cause = error
  return moved
}

function build(
  code: string,
  errno: number,
  reason: string,
  syscall: string,
  path: string | undefined,
): ErrnoError {
  const where = path === undefined ? '' : ` '${path}'`
  const error = new Error(`${code}: ${reason}, ${syscall}${where}`)
  return Object.assign(error, { code, errno: -errno, syscall, ...(path === undefined ? {} : { path }) })
}

/** strerror's words with a small first letter, as libuv writes them. */
function reasonOf(errno: number): string {
  const words = calls().strerror(errno)
  return words.charAt(0).toLowerCase() + words.slice(1)
}
