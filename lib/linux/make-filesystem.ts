/**
 * Making filesystems in files, with the programs that belong to them: nothing else knows how.
 *
 * No shell, no environment of the caller's, and no configuration of the machine that would change what is made.
 */
import { dirname } from 'node:path'
import { byteString, printable } from '../bytes.js'
import { AbortedError, SystemError, UnsupportedError } from '../errors.js'
import { statFilesystem } from './statfs.js'

export type FilesystemType = 'ext4' | 'xfs' | 'btrfs'

const PACKAGES: Readonly<Record<FilesystemType, string>> = {
  ext4: 'e2fsprogs',
  xfs: 'xfsprogs',
  btrfs: 'btrfs-progs',
}

// Where a program of the system's administrator is, on all distributions; a PATH that somebody else set has no say.
const ENVIRONMENT = {
  PATH: '/usr/sbin:/sbin:/usr/local/sbin:/usr/bin:/bin:/run/current-system/sw/bin',
  LC_ALL: 'C',
}
const MAX_SHOWN_CHARS = 1000
/** With less than this a disk counts as full: what did not fit may have been given back. */
const FULL_BYTES = 1024 * 1024

/**
 * Makes a filesystem in an existing file, as large as the file is.
 *
 * @param options for `mkfs.TYPE`, before the file
 * @throws {UnsupportedError} `system-unsupported` when the program is not there
 * @throws {SystemError} `system-call` with what the program said
 */
export async function makeFilesystem(
  type: FilesystemType,
  file: string,
  options: readonly string[],
  signal?: AbortSignal,
): Promise<void> {
  const program = `mkfs.${type}`
  const { execFile } = process.getBuiltinModule('node:child_process')
  await new Promise<void>((settle, reject) => {
    const running = { env: ENVIRONMENT, encoding: 'utf8', maxBuffer: 1024 * 1024, cwd: '/' } as const
    execFile(
      program,
      [...options, file],
      signal === undefined ? running : { ...running, signal },
      (error, _, stderr) => {
        if (error === null) settle()
        else reject(failureOf(error, type, file, stderr))
      },
    )
  })
}

function failureOf(
  error: Error & { code?: unknown },
  type: FilesystemType,
  file: string,
  stderr: string,
): Error {
  const program = `mkfs.${type}`
  if (error.name === 'AbortError') return new AbortedError(undefined, { cause: error })
  if (error.code === 'ENOENT') {
    const needed = `${program}, of ${PACKAGES[type]}`
    return new UnsupportedError(
      'system-unsupported',
      `Cannot make an ${type} filesystem: ${program} is missing, which ${PACKAGES[type]} has`,
      { facts: { feature: program, found: 'missing', needed }, cause: error },
    )
  }
  if (isFull(dirname(file))) {
    const full = 'ENOSPC: no space left on device'
    return new SystemError('disk-full', `Cannot make an ${type} filesystem: ${full}, ${program} "${file}"`, {
      facts: { syscall: program, path: file, errno: 'ENOSPC' },
      cause: error,
    })
  }
  const said = printable(byteString(stderr.trim())).slice(0, MAX_SHOWN_CHARS)
  return new SystemError('system-call', `Cannot make an ${type} filesystem: ${program} failed: ${said}`, {
    facts: { syscall: program, path: null, errno: null },
    cause: error,
  })
}

/** The programs tell of a full disk in words of their own, or of an input/output error. */
function isFull(directory: string): boolean {
  return statFilesystem(directory).availableBytes < FULL_BYTES
}
