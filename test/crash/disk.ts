/**
 * Small disks whose power is cut: files on a filesystem that clones files at once, as loop devices without a cache, so that a
 * clone is what such a disk holds at that moment, and no page cache is part of it. What a real disk keeps in a cache of its
 * own is not imitated: every write that it was given counts as written.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { constants, copyFileSync, mkdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { mountsBelow } from './scene.js'

const HOST_BYTES = 4 * 1024 ** 3
const DISK_BYTES = 400 * 1024 ** 2 // XFS takes no less than 300 MiB

export const FILESYSTEMS = ['ext4', 'xfs', 'btrfs'] as const
export type Filesystem = (typeof FILESYSTEMS)[number]

const MAKE: Readonly<Record<Filesystem, readonly string[]>> = {
  ext4: ['mkfs.ext4', '-q', '-F', '-b', '4096'],
  xfs: ['mkfs.xfs', '-q', '-f', '-s', 'size=4096'],
  btrfs: ['mkfs.btrfs', '-q', '-f'],
}

/** Why a filesystem cannot be tested here, or null. */
export function whyNoDisk(filesystem: Filesystem): string | null {
  if (process.geteuid?.() !== 0) return 'needs root'
  for (const tool of ['mkfs.xfs', MAKE[filesystem][0]!, 'losetup']) {
    if (spawnSync(tool, ['-V']).error !== undefined) return `${tool} is not installed`
  }
  for (const name of new Set(['xfs', filesystem])) {
    spawnSync('modprobe', [name])
    if (!execFileSync('cat', ['/proc/filesystems'], { encoding: 'utf8' }).includes(`\t${name}\n`))
      return `this kernel has no ${name}`
  }
  return spawnSync('losetup', ['--find']).status === 0 ? null : 'there is no loop device'
}

export class Disk implements Disposable {
  readonly at: string
  readonly #filesystem: Filesystem
  readonly #host: string
  #count = 0
  #device = ''

  /** @param directory where the files and the places to mount are made */
  constructor(directory: string, filesystem: Filesystem) {
    this.#filesystem = filesystem
    this.#host = `${directory}/host`
    this.at = `${directory}/disk`
    mkdirSync(this.#host)
    mkdirSync(this.at)
    const image = `${directory}/host.img`
    writeFileSync(image, '')
    truncateSync(image, HOST_BYTES)
    execFileSync('mkfs.xfs', ['-q', '-f', '-m', 'reflink=1', image])
    execFileSync('mount', ['-o', 'loop', image, this.#host])
    const first = this.#file()
    writeFileSync(first, '')
    truncateSync(first, DISK_BYTES)
    const [tool = '', ...words] = MAKE[filesystem]
    execFileSync(tool, [...words, first])
    this.#plugIn()
  }

  /** What the disk holds now, kept for restart(). Takes no time that matters. */
  cut(): void {
    copyFileSync(this.#file(), this.#file(1), constants.COPYFILE_FICLONE_FORCE)
  }

  /** Goes on with what the disk held at the cut. Nobody may use it any more. */
  restart(): void {
    this.#unplug()
    rmSync(this.#file())
    this.#count++
    this.#plugIn()
  }

  [Symbol.dispose](): void {
    this.#unplug()
    spawnSync('umount', [this.#host])
  }

  #file(ahead = 0): string {
    return `${this.#host}/disk${this.#count + ahead}`
  }

  #plugIn(): void {
    const words = ['--find', '--show', '--sector-size=4096', '--direct-io=on', this.#file()]
    this.#device = execFileSync('losetup', words, { encoding: 'utf8' }).trim()
    execFileSync('mount', ['-t', this.#filesystem, this.#device, this.at])
  }

  #unplug(): void {
    if (this.#device === '') return
    for (const mount of [...mountsBelow(this.at).reverse(), this.at]) {
      if (spawnSync('umount', [mount]).status !== 0) spawnSync('umount', ['--lazy', mount])
    }
    spawnSync('losetup', ['--detach', this.#device])
    this.#device = ''
  }
}
