/**
 * What the kernel says of its mounts (mountinfo(5)) and loop devices.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'

export interface MountEntry {
  readonly at: string
  readonly type: string
  readonly source: string
  /** Those of the filesystem, as `key` or `key=value`. */
  readonly options: readonly string[]
}

export function mountTable(): MountEntry[] {
  const lines = readFileSync('/proc/self/mountinfo', 'utf8').split('\n')
  return lines
    .filter((line) => line !== '')
    .map((line) => {
      const fields = line.split(' ')
      // The fields before the hyphen vary in number, those after it do not.
      const [type, source, options] = fields.slice(fields.indexOf('-') + 1)
      return { at: fields[4]!, type: type!, source: source!, options: options!.split(',') }
    })
}

/** The topmost mount at a place. @throws {Error} when there is none */
export function mountAt(path: string): MountEntry {
  const found = mountTable().findLast((mount) => mount.at === path)
  if (found === undefined) throw new Error(`Nothing is mounted at ${path}`)
  return found
}

/** Makes the kernel forget what it read of files, so that the next read comes from the disk. */
export function forgetCaches(): void {
  writeFileSync('/proc/sys/vm/drop_caches', '3')
}

/** The files that loop devices stand for at this moment. */
export function loopFiles(): string[] {
  return readdirSync('/sys/block')
    .filter((name) => name.startsWith('loop'))
    .flatMap((name) => {
      try {
        return [readFileSync(`/sys/block/${name}/loop/backing_file`, 'utf8').trim()]
      } catch {
        // A device that nobody uses has no such file.
        return []
      }
    })
}
