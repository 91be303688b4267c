/**
 * A btrfs of a test's own, in a sparse file.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { chmodSync, mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll } from 'vitest'

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

function makeBtrfs({ megabytes = 512, mountOptions = [] }: BtrfsOptions = {}): Btrfs {
  const directory = mkdtempSync(join(tmpdir(), 'groot-btrfs-'))
  const image = `${directory}/image`
  const path = `${directory}/mounted`
  const remove = () => rmSync(directory, { recursive: true, force: true })
  try {
    chmodSync(directory, 0o755)
    mkdirSync(path)
    writeFileSync(image, '')
    truncateSync(image, megabytes * 1024 * 1024)
    execFileSync('mkfs.btrfs', ['--quiet', image], { stdio: ['ignore', 'ignore', 'pipe'] })
    execFileSync('mount', ['-t', 'btrfs', '-o', ['loop', ...mountOptions].join(','), image, path])
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

/** Gives the tests of a describe a directory for temporary files on a filesystem that a driver works on. */
export function onFilesystemOf(driver: string): void {
  if (driver !== 'btrfs') return
  const path = useBtrfs()
  const before = process.env.TMPDIR
  beforeAll(() => {
    // Others than root shall get to what they have in there, as in every such directory.
    chmodSync(path(), 0o1777)
    process.env.TMPDIR = path()
  })
  afterAll(() => {
    if (before === undefined) delete process.env.TMPDIR
    else process.env.TMPDIR = before
  })
}

/** One for all tests of a describe. @returns its path, while they run */
export function useBtrfs(options: BtrfsOptions = {}): () => string {
  let made: Btrfs | null = null
  beforeAll(() => {
    made = makeBtrfs(options)
  })
  afterAll(() => made?.[Symbol.dispose]())
  return () => made!.path
}
