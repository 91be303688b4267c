/**
 * Kernel modules in the order in which they have to be loaded.
 *
 * Debian's package comes without modules.dep, which depmod writes at installation; what a module needs stands in the
 * module itself (section .modinfo: `depends=` and `softdep=pre:`).
 */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { basename, join } from 'node:path'

export interface Module {
  readonly name: string
  readonly content: Buffer
}

/**
 * Reads modules and all that they need, each after what it needs. What is built into the kernel needs no loading.
 *
 * @param directory `modules/RELEASE`, as the package has it
 * @param names with underscores or hyphens
 * @throws {Error} naming a module that the kernel does not have
 */
export function modulesInOrder(directory: string, names: readonly string[]): Module[] {
  const files = listing(directory, 'modules.order')
  const builtIn = listing(directory, 'modules.builtin')
  const ordered = new Map<string, Module>()
  const add = (name: string, isNeeded: boolean): void => {
    if (ordered.has(name) || builtIn.has(name)) return
    const file = files.get(name)
    if (file === undefined) {
      // A soft dependency may name an algorithm or an alias instead of a module.
      if (isNeeded) throw new Error(`The kernel in ${directory} has no module "${name}"`)
      return
    }
    const content = decompressed(join(directory, file))
    const info = moduleInfo(content)
    for (const needed of info.depends) add(needed, true)
    for (const wanted of info.softDepends) add(wanted, false)
    ordered.set(name, { name, content })
  }
  for (const name of names) add(plainName(name), true)
  return [...ordered.values()]
}

/** Paths by name; the listings have one path a line, without the ending of compression. */
function listing(directory: string, file: string): Map<string, string> {
  const lines = readFileSync(join(directory, file), 'utf8').split('\n')
  return new Map(lines.filter((line) => line !== '').map((path) => [plainName(basename(path, '.ko')), path]))
}

function plainName(name: string): string {
  return name.replaceAll('-', '_')
}

function decompressed(path: string): Buffer {
  return execFileSync('xz', ['-dc', `${path}.xz`], { maxBuffer: 64 * 1024 * 1024 })
}

function moduleInfo(content: Buffer): { depends: string[]; softDepends: string[] } {
  // Strings of .modinfo end with a NUL and begin after one, or at the beginning of the section.
  const text = content.toString('latin1')
  const depends = /(?:^|\0)depends=([^\0]*)\0/.exec(text)?.[1] ?? ''
  const soft = [...text.matchAll(/(?:^|\0)softdep=pre: ([^\0]*)\0/g)].flatMap((match) => match[1]!.split(' '))
  return { depends: names(depends.split(',')), softDepends: names(soft) }
}

function names(found: readonly string[]): string[] {
  return found.filter((name) => name !== '').map(plainName)
}
