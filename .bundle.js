/**
 * What runs is put together from the compiled modules: reading two hundred files takes a command longer than what it does.
 *
 * One file for what nearly every call needs, but for what threads need that read layers, which is one for itself: they start
 * several at a time. Rooms that few calls need stay apart and are read when they are used. Nothing is renamed or left out, so
 * that stack traces say what the sources say. Types are those of the modules. `npm run build` runs this.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { basename } from 'node:path'
import { build } from 'rolldown'

const ENTRIES = [
  'cli/process',
  'cli/code-cache',
  'lib/index',
  'lib/driver/kit',
  'lib/testkit/index',
  'lib/engine/thread',
  'lib/worker/ingest-thread',
  'lib/worker/scan-thread',
  'drivers/overlay/index',
  'drivers/btrfs/index',
  'drivers/vfs/index',
]

/** What is imported by a name of package.json. */
const IMPORTED = /^(lib\/index|lib\/driver\/kit|lib\/testkit\/index|drivers\/\w+\/index)\.cjs$/

/** Packages of plain modules that are read whenever they are needed at all: their files are put together too. */
const TOGETHER =
  /^(node-fetch|fetch-blob|formdata-polyfill|data-uri-to-buffer|node-domexception|smol-toml|proper-lockfile|graceful-fs|signal-exit|retry)(\/|$)/

const NO_HOOKS = '\0no-hooks.cjs'

/** proper-lockfile, as lib/locks/load-engine.ts loads it: with stand-ins for the two modules that change the process. */
const LOCKFILE = {
  name: 'proper-lockfile',
  resolveId(source, importer = '') {
    if (importer.includes('/node_modules/proper-lockfile/')) {
      if (source === 'graceful-fs') return { id: 'node:fs', external: true }
      if (source === 'signal-exit') return NO_HOOKS
    }
    return null
  },
  load(id) {
    if (id === NO_HOOKS) return 'module.exports = () => () => undefined'
    if (id.endsWith('/dist/lib/locks/load-engine.js'))
      return "export const loadEngine = () => require('proper-lockfile')"
    return null
  },
}

/** Drivers that are built in: their names, in place of a path that is known when it is asked for. */
const DRIVERS = {
  name: 'drivers',
  resolveId(source) {
    const [, driver] = /^#drivers\/(\w+)$/.exec(source) ?? []
    return driver === undefined ? null : `${process.cwd()}/dist/drivers/${driver}/index.js`
  },
  transform(code, id) {
    if (!id.endsWith('/dist/lib/driver/host.js')) return null
    const asked = 'import(`#drivers/$' + '{name}`)'
    if (!code.includes(asked)) throw new Error(`${id} does not say ${asked}`)
    const built = ENTRIES.flatMap((entry) => /^drivers\/(\w+)/.exec(entry)?.[1] ?? [])
    const named = built.map((name) => `${name}: () => import('#drivers/${name}')`)
    return code.replace(asked, `{ ${named.join(', ')} }[name]()`)
  },
}

/** What speaks to a registry, and is configured for it. */
const REGISTRY = /\/lib\/(config|registry|sources\/registry)|\/node_modules\//

const SELDOM =
  /\/lib\/(config|registry|testkit|operations\/composefs|operations\/(check|clean|images|login|repair|rmi)|sources\/(dir|docker|oci|registry|tarball)|worker\/scan)/

const SETTINGS = {
  // No module of groot does anything when it is imported.
  treeshake: { moduleSideEffects: false },
  platform: 'node',
  plugins: [LOCKFILE, DRIVERS],
  // Entries may show more than they say: chunks share what is in them.
  preserveEntrySignatures: 'allow-extension',
  // Of those, some are in the core anyway.
  checks: { ineffectiveDynamicImport: false },
  // Packages, and what package.json gives a name.
  external: (id) => !/^([./]|#drivers\/)/.test(id) && !TOGETHER.test(id),
}

/** Ids of all modules that some import, and their own; not what they import when it is needed. */
async function modulesOf(...names) {
  const { output } = await build({ ...SETTINGS, input: names.map((name) => `dist/${name}.js`), write: false })
  const chunks = new Map(
    output.filter(({ type }) => type === 'chunk').map((chunk) => [chunk.fileName, chunk]),
  )
  const reached = new Set(
    [...chunks.values()].filter(({ isEntry }) => isEntry).map(({ fileName }) => fileName),
  )
  for (const name of reached) for (const next of chunks.get(name)?.imports ?? []) reached.add(next)
  return new Set([...reached].flatMap((name) => Object.keys(chunks.get(name)?.modules ?? {})))
}

/** What threads need that read layers. */
const LAYERS = await modulesOf('lib/worker/ingest-thread')

/** What an image that the store has is created, deleted and listed with, by command or by library. */
const HOT = await modulesOf(
  'cli/process',
  'cli/create',
  'cli/delete',
  'cli/list',
  'cli/stats',
  'lib/operations/open-store',
  'drivers/overlay/index',
  'lib/sources/oci-layout',
  'lib/sources/registry',
)

const isEntry = (id) =>
  id.endsWith('thread.js') || id.endsWith('code-cache.js') || /\/dist\/drivers\/\w+\/index.js$/.test(id)

const { output } = await build({
  ...SETTINGS,
  input: Object.fromEntries(ENTRIES.map((entry) => [entry, `dist/${entry}.js`])),
  output: {
    dir: 'dist/bundle',
    format: 'cjs',
    exports: 'named',
    entryFileNames: '[name].cjs',
    chunkFileNames: 'chunks/[name]-[hash].cjs',
    codeSplitting: {
      includeDependenciesRecursively: false,
      groups: [
        { name: 'import-file', test: /\/lib\/driver\/import-file\.js$/, priority: 4 },
        { name: 'common', test: (id) => HOT.has(id) && LAYERS.has(id), priority: 3 },
        { name: 'layers', test: (id) => LAYERS.has(id) && !isEntry(id), priority: 2 },
        { name: 'hot', test: (id) => HOT.has(id) && !isEntry(id), priority: 1 },
        {
          name: 'core',
          test: (id) => id.includes('/dist/lib/') && !isEntry(id) && !SELDOM.test(id),
        },
        { name: 'registry', test: (id) => REGISTRY.test(id) },
      ],
    },
  },
})

for (const { type, fileName, exports, code } of output) {
  if (type !== 'chunk') continue
  // Code that V8 compiled in an earlier run cannot import (cli/code-cache.ts).
  const imports = /^[^*\n]*[^.\w]import\(.*$/m.exec(code)
  if (imports !== null && !fileName.includes('import-file-'))
    throw new Error(`${fileName} imports: ${imports[0]}`)
  const path = `dist/bundle/${fileName}`
  // One other character, and Node has to decode the file, and V8 reads it at two bytes a character.
  const escaped = (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`
  writeFileSync(path, readFileSync(path, 'utf8').replace(/[^\0-\x7f]/g, escaped))
  if (!IMPORTED.test(fileName)) continue
  // An ES module, whose names can be read off it.
  const names = exports.filter((name) => name !== 'default').join(', ')
  const lines = [
    `import bundled from './${basename(fileName)}'`,
    ...(names === '' ? [] : [`export const { ${names} } = bundled`]),
    ...(exports.includes('default') ? ['export default bundled.default'] : []),
  ]
  writeFileSync(path.replace(/\.cjs$/, '.js'), `${lines.join('\n')}\n`)
}
