/**
 * What runs is put together from the compiled modules: reading two hundred files takes a command longer than what it does.
 *
 * One file for what nearly every call needs, but for what threads need that read layers, which is one for itself: they start
 * several at a time. Rooms that few calls need stay apart and are read when they are used. Nothing is renamed or left out, so
 * that stack traces say what the sources say. Types are those of the modules. `npm run build` runs this.
 */
import { build } from 'rolldown'

const ENTRIES = [
  'cli/process',
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

/** Packages of plain modules that are read whenever they are needed at all: their files are put together too. */
const TOGETHER =
  /^(node-fetch|fetch-blob|formdata-polyfill|data-uri-to-buffer|node-domexception|smol-toml)(\/|$)/

/** What speaks to a registry, and is configured for it. */
const REGISTRY = /\/lib\/(config|registry|sources\/registry)|\/node_modules\//

/** What the verbs share that orchestrators and people use most. */
const COMMON =
  /\/cli\/(create|delete|image-request|list|mapping|registry|stats|store-options|text|values|verb)\.js$/

const SELDOM =
  /\/lib\/(config|registry|testkit|operations\/composefs|operations\/(check|clean|images|login|repair|rmi)|sources\/(dir|docker|oci|registry|tarball)|worker\/scan)/

const SETTINGS = {
  platform: 'node',
  // Of those, some are in the core anyway.
  checks: { ineffectiveDynamicImport: false },
  // Packages, and what package.json gives a name.
  external: (id) => !/^[./]/.test(id) && !TOGETHER.test(id),
}

/** Ids of all modules that an entry imports, and itself. */
async function modulesOf(entry) {
  const { output } = await build({ ...SETTINGS, input: `dist/${entry}.js`, write: false })
  return new Set(
    output.flatMap((chunk) =>
      chunk.type === 'chunk' && !chunk.isDynamicEntry ? Object.keys(chunk.modules) : [],
    ),
  )
}

const LAYERS = await modulesOf('lib/worker/ingest-thread')

await build({
  ...SETTINGS,
  input: Object.fromEntries(ENTRIES.map((entry) => [entry, `dist/${entry}.js`])),
  output: {
    dir: 'dist/bundle',
    format: 'esm',
    entryFileNames: '[name].js',
    chunkFileNames: 'chunks/[name]-[hash].js',
    codeSplitting: {
      groups: [
        { name: 'layers', test: (id) => LAYERS.has(id) && !id.endsWith('thread.js'), priority: 1 },
        {
          name: 'core',
          test: (id) => id.includes('/dist/lib/') && !id.endsWith('thread.js') && !SELDOM.test(id),
        },
        { name: 'registry', test: (id) => REGISTRY.test(id) },
        { name: 'common', test: (id) => COMMON.test(id) },
      ],
    },
  },
})
