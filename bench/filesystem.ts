/**
 * A filesystem of the benchmark's own: a new ext4 with a journal on a loop device with direct I/O, so that results do not
 * depend on how old and how full the machine's own is, and contents are not cached twice.
 */
import { execFileSync } from 'node:child_process'
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { parseMountPoints } from '../lib/linux/mount-points.js'

const USED_ONCE_BYTES = 2 * 1024 ** 3

export interface BenchFilesystem extends Disposable {
  /** Where it is mounted. */
  readonly path: string
}

/**
 * Makes and mounts it. Needs root.
 *
 * @param parent where the image file goes; needs as much room as is written, and a filesystem that does direct I/O
 * @param bytes size of the filesystem; the file is sparse
 * @param usedBytes how much of it is written once before
 */
export function makeFilesystem(parent: string, bytes: number, usedBytes = USED_ONCE_BYTES): BenchFilesystem {
  const directory = mkdtempSync(join(parent, 'groot-bench-'))
  const undo = new Undo()
  undo.defer(() => rmSync(directory, { recursive: true, force: true }))
  try {
    const image = join(directory, 'ext4')
    writeFileSync(image, '')
    truncateSync(image, bytes)
    call('mkfs.ext4', '-q', '-F', '-E', 'lazy_itable_init=0,lazy_journal_init=0', image)
    const device = call('losetup', '--direct-io=on', '--find', '--show', image).trim()
    undo.defer(() => call('losetup', '--detach', device))
    const path = join(directory, 'mounted')
    mkdirSync(path)
    call('mount', device, path)
    // Also when something of a child that was stopped still stands in it.
    undo.defer(() => call('umount', '--lazy', path))
    undo.defer(() => unmountBelow(path))
    useOnce(join(path, 'used-once'), Math.min(bytes / 2, usedBytes))
    return { path, [Symbol.dispose]: () => undo[Symbol.dispose]() }
  } catch (error) {
    undo[Symbol.dispose]()
    throw error
  }
}

/**
 * Writes a file and removes it, so that the blocks which are used first have been written before: the first write to a
 * block of a sparse file waits for the filesystem below, and that would be measured.
 */
function useOnce(path: string, bytes: number): void {
  const fd = openSync(path, 'w')
  const zeros = Buffer.alloc(8 * 1024 * 1024)
  for (let written = 0; written < bytes; written += zeros.length) writeSync(fd, zeros)
  fsyncSync(fd)
  closeSync(fd)
  rmSync(path)
}

/** What has to be taken back, the last first. (DisposableStack came with Node 24.) */
export class Undo implements Disposable {
  readonly #steps: (() => void)[] = []

  defer(step: () => void): void {
    this.#steps.push(step)
  }

  [Symbol.dispose](): void {
    const errors: unknown[] = []
    for (let step = this.#steps.pop(); step !== undefined; step = this.#steps.pop()) {
      try {
        step()
      } catch (error) {
        errors.push(error)
      }
    }
    if (errors.length > 0) throw errors[0]
  }
}

/** Takes away all mounts below a directory, the last one first; one on the directory itself stays. */
export function unmountBelow(directory: string): void {
  const points = parseMountPoints(readFileSync('/proc/self/mountinfo', 'latin1'))
  for (const point of points.reverse()) {
    if (point.startsWith(`${directory}/`)) call('umount', '--lazy', point)
  }
}

/** Disk that a directory takes, in bytes of blocks; what is mounted in it is not counted. */
export function diskUse(path: string): number {
  return Number(call('du', '-sx', '--block-size=1', path).split('\t')[0])
}

function call(command: string, ...args: string[]): string {
  return execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] })
}
