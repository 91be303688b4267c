/**
 * Finds the package that `import(NAME)` would find in a file of some other place (Node.js, "Resolution Algorithm
 * Specification" of ECMAScript modules). Node itself answers that for the importing file only. Nothing is looked up in the
 * working directory, NODE_PATH or the home directory.
 */
import { existsSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname } from 'node:path'
import { isErrno } from '../errors.js'

const CONDITIONS: ReadonlySet<string> = new Set(['node', 'import', 'module-sync', 'node-addons', 'default'])

/**
 * The nearest directory of a package.
 *
 * @param place absolute path; what is in it, beside it and above it counts
 * @returns null when it is installed in none of these
 */
export function findPackage(name: string, place: string): string | null {
  for (let above = place; ; above = dirname(above)) {
    const directory = `${above}/node_modules/${name}`
    // With the slash it is there only as a directory.
    if (existsSync(`${directory}/`)) return directory
    if (above === dirname(above)) return null
  }
}

/**
 * The file that an import of a package loads.
 *
 * @throws {Error} that says what is wrong with the package
 */
export function entryOfPackage(directory: string): string {
  const { exports } = readManifest(`${directory}/package.json`)
  // Without exports the name means the same for import and require.
  if (exports === undefined || exports === null) return createRequire(`${directory}/`).resolve(directory)
  const target = targetOf(mainExport(exports))
  if (target === null || target === undefined) throw new Error('its package.json exports nothing to import')
  if (!target.startsWith('./') || /\/(\.\.?|node_modules)(\/|$)/.test(target.slice(1))) {
    throw new Error(`its package.json exports ${JSON.stringify(target)}, which is no file of its own`)
  }
  return `${directory}/${target.slice(2)}`
}

function readManifest(path: string): { readonly exports?: unknown } {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) ?? {}
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return {}
    throw error
  }
}

/** What stands for the package's own name: `.`, or all there is when no key is a path. */
function mainExport(exports: unknown): unknown {
  if (typeof exports !== 'object' || exports === null || Array.isArray(exports)) return exports
  const hasPaths = Object.keys(exports).some((key) => key.startsWith('.'))
  return hasPaths ? (exports as Record<string, unknown>)['.'] : exports
}

/** @returns null for what is kept from importers, undefined when no condition holds */
function targetOf(value: unknown): string | null | undefined {
  if (value === null || typeof value === 'string') return value
  if (typeof value !== 'object') return undefined
  const held = Array.isArray(value)
    ? value
    : Object.entries(value).flatMap(([condition, target]) => (CONDITIONS.has(condition) ? [target] : []))
  for (const each of held) {
    const target = targetOf(each)
    if (target !== undefined) return target
  }
  return undefined
}
