/**
 * Imports go one way. Reads every import of the sources and fails with a sentence for each that goes another.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'

const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), '..')

/** Rank of each room; a room imports rooms of its own rank or lower. */
const RANKS: Record<string, number> = {
  errors: 0,
  'linked-signal': 0,
  events: 0,
  digest: 0,
  bytes: 0,
  image: 1,
  tree: 1,
  composefs: 1,
  ids: 1,
  config: 1,
  linux: 2,
  registry: 2,
  locks: 2,
  layer: 3,
  sources: 3,
  store: 3,
  quota: 3,
  metrics: 3,
  driver: 4,
  worker: 4,
  operations: 5,
  engine: 6,
  index: 7,
  testkit: 7,
}
/** Files of pure rooms that touch the disk, as the architecture names them; they rank with the calls they make. */
const IMPURE: Record<string, number> = {
  'lib/tree/materialise.ts': 3,
  'lib/tree/fresh-top.ts': 3,
  'lib/tree/write-entry.ts': 3,
  'lib/tree/scan.ts': 3,
  'lib/tree/update.ts': 3,
}
const PURE_ROOMS = new Set(['image', 'tree', 'composefs', 'ids', 'config'])
const IMPURE_MODULES =
  /^node:(fs|net|http|https|dns|child_process|worker_threads|os|timers)(\/|$)|^(koffi|node-fetch)$/

interface Import {
  readonly from: string
  readonly to: string
  readonly typeOnly: boolean
}

describe('architecture', () => {
  const imports = ['lib', 'cli', 'drivers'].flatMap((folder) => sources(folder).flatMap(importsOf))

  it('finds the imports it judges', () => {
    expect(imports.length).toBeGreaterThan(100)
  })

  it('lets rooms of lib import only what stands below them', () => {
    const wrong = imports.filter(
      ({ from, to }) => from.startsWith('lib/') && to.startsWith('lib/') && rank(to) > rank(from),
    )
    expect(
      wrong.map(({ from, to }) => `${from} (rank ${rank(from)}) must not import ${to} (rank ${rank(to)})`),
    ).toEqual([])
  })

  it('keeps pure rooms free of disk, network and clock', () => {
    const wrong = imports.filter(
      ({ from, to, typeOnly }) =>
        isPure(from) && !typeOnly && (IMPURE_MODULES.test(to) || (to in IMPURE && !(from in IMPURE))),
    )
    expect(wrong.map(({ from, to }) => `${from} is in a pure room and must not import ${to}`)).toEqual([])
    const clocks = sources('lib').filter(
      (file) => isPure(file) && /\bDate\.now\(|\bnew Date\(\)|performance\.now\(/.test(code(file)),
    )
    expect(clocks.map((file) => `${file} is in a pure room and must not read the clock`)).toEqual([])
  })

  it('lets the command import the library by its index only', () => {
    const wrong = imports.filter(
      ({ from, to }) =>
        from.startsWith('cli/') &&
        (to.startsWith('drivers/') || (to.startsWith('lib/') && to !== 'lib/index.ts')),
    )
    expect(wrong.map(({ from, to }) => `${from} must not import ${to}, but lib/index.ts`)).toEqual([])
  })

  it('lets drivers import the kit only, and never each other', () => {
    const wrong = imports.filter(
      ({ from, to }) =>
        from.startsWith('drivers/') &&
        !to.startsWith('node:') &&
        to !== 'lib/driver/kit.ts' &&
        !to.startsWith(`${from.split('/').slice(0, 2).join('/')}/`),
    )
    expect(wrong.map(({ from, to }) => `${from} must not import ${to}, but lib/driver/kit.ts`)).toEqual([])
  })

  it('keeps command packages out of the library, and library code free of console, exit and environment', () => {
    const packages = imports.filter(
      ({ from, to }) => from.startsWith('lib/') && /^(yargs|cli-progress)/.test(to),
    )
    expect(packages.map(({ from, to }) => `${from} must not import ${to}`)).toEqual([])
    const loud = sources('lib')
      .filter((file) => !file.startsWith('lib/testkit/'))
      .filter((file) => /\bconsole\.|(?<![.\w])process\.(exit|stdout|stderr|env)\b/.test(code(file)))
    expect(loud.map((file) => `${file} must not write, exit or read the environment`)).toEqual([])
  })

  it('has no import cycles between files, types aside', () => {
    expect(cycles(imports.filter((each) => !each.typeOnly))).toEqual([])
  })

  it('keeps files below 400 lines', () => {
    const long = ['lib', 'cli', 'drivers']
      .flatMap(sources)
      .filter((file) => text(file).split('\n').length > 401)
    expect(long.map((file) => `${file} has ${text(file).split('\n').length} lines: it is two files`)).toEqual(
      [],
    )
  })
})

function rank(file: string): number {
  const impure = IMPURE[file]
  if (impure !== undefined) return impure
  const room = file.split('/')[1]!.replace(/\.ts$/, '')
  const found = RANKS[room]
  if (found === undefined) throw new Error(`${file} stands in no known room`)
  return found
}

function isPure(file: string): boolean {
  return PURE_ROOMS.has(file.split('/')[1] ?? '') && file.startsWith('lib/') && !(file in IMPURE)
}

function sources(folder: string): string[] {
  return readdirSync(join(ROOT, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
    .map((entry) => relative(ROOT, join(entry.parentPath, entry.name)))
    .sort()
}

function text(file: string): string {
  return readFileSync(join(ROOT, file), 'utf8')
}

/** The file without comments, so that words in them are not taken for code. */
function code(file: string): string {
  return text(file).replace(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, '')
}

function importsOf(file: string): Import[] {
  const found: Import[] = []
  const statement = /^(?:import|export)\s+(type\s+)?(?:[^'";]*?\sfrom\s+)?'([^']+)'/gm
  for (const [, typeOnly, to] of code(file).matchAll(statement)) {
    found.push({ from: file, to: target(file, to!), typeOnly: typeOnly !== undefined })
  }
  for (const [, to] of code(file).matchAll(/\bimport\('([^']+)'\)/g)) {
    // Loaded when used: part of the order of rooms, not of cycles at load time.
    found.push({ from: file, to: target(file, to!), typeOnly: true })
  }
  return found
}

function target(file: string, to: string): string {
  return to.startsWith('.') ? join(dirname(file), to).replace(/\.js$/, '.ts') : to
}

function cycles(imports: readonly Import[]): string[] {
  const edges = new Map<string, string[]>()
  for (const { from, to } of imports) edges.set(from, [...(edges.get(from) ?? []), to])
  const found: string[] = []
  const state = new Map<string, 'open' | 'done'>()
  const visit = (file: string, way: readonly string[]): void => {
    if (state.get(file) === 'done') return
    if (state.get(file) === 'open') {
      found.push([...way.slice(way.indexOf(file)), file].join(' -> '))
      return
    }
    state.set(file, 'open')
    for (const next of edges.get(file) ?? []) visit(next, [...way, file])
    state.set(file, 'done')
  }
  for (const file of edges.keys()) visit(file, [])
  return found
}
