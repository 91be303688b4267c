/**
 * A btrfs of a test's own, in a sparse file. Knows no test runner: programs in other machines use it too.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { mountNewDisk } from './new-disk.js'

export interface Btrfs extends Disposable {
  /** Where it is mounted; the top of the filesystem. */
  readonly path: string
}

export interface BtrfsOptions {
  readonly megabytes?: number
  /** For mount(8), beside the loop device. */
  readonly mountOptions?: readonly string[]
}

let answer: string | null | undefined

/** Why there cannot be one here; null when there can. */
export function whyNoBtrfs(): string | null {
  if (answer === undefined) answer = findOut()
  return answer
}

function findOut(): string | null {
  if (process.geteuid?.() !== 0) return 'needs root'
  if (spawnSync('mkfs.btrfs', ['--version']).status !== 0) return 'needs mkfs.btrfs'
  try {
    makeBtrfs()[Symbol.dispose]()
    return null
  } catch {
    return 'needs btrfs and loop devices'
  }
}

export function makeBtrfs({ megabytes = 512, mountOptions = [] }: BtrfsOptions = {}): Btrfs {
  const directory = mkdtempSync(join(tmpdir(), 'groot-btrfs-'))
  const image = `${directory}/image`
  const path = `${directory}/mounted`
  const remove = () => rmSync(directory, { recursive: true, force: true })
  try {
    chmodSync(directory, 0o755)
    mountNewDisk(image, path, { type: 'btrfs', megabytes, mountOptions })
  } catch (error) {
    remove()
    throw error
  }
  return {
    path,
    [Symbol.dispose]() {
      execFileSync('umount', ['--recursive', '--lazy', path])
      remove()
    },
  }
}
