/**
 * The quickstart: groot's main job on a small image that it makes itself, told step by step.
 *
 * Needs no network and no root. Everything is made in one directory for temporary files and removed at the end, unless
 * `--keep` is given. What cannot be shown on a machine is skipped, and it says why.
 */
import { spawnSync } from 'node:child_process'
import { lstatSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { AbortedError, deleteStore, type GrootStore, isGrootError, openStore } from '../lib/index.js'
import { SAMPLE_TAG, writeSampleImage } from './sample-image.js'
import { counted, visible } from './text.js'

const isRoot = process.geteuid?.() === 0
const stop = new AbortController()
let step = 0

async function quickstart(argv: readonly string[]): Promise<number> {
  if (argv.some((argument) => argument !== '--keep')) {
    process.stderr.write(
      'quickstart: Cannot use these arguments: only --keep is known, which keeps what is made\n',
    )
    return 2
  }
  for (const name of ['SIGINT', 'SIGTERM'] as const) {
    process.once(name, () => stop.abort(new AbortedError(`Cannot go on: stopped by ${name}`)))
  }
  const directory = mkdtempSync(join(tmpdir(), 'groot-quickstart-'))
  const store = join(directory, 'store')
  let exitStatus = 0
  const attempt = async (work: Promise<void>): Promise<void> => {
    try {
      await work
    } catch (error) {
      process.stderr.write(
        `\nquickstart: ${visible(error instanceof Error ? error.message : String(error))}\n`,
      )
      exitStatus ||= isGrootError(error) ? error.exitStatus : 70
    }
  }
  await attempt(tour(directory, store))
  await attempt(cleanUp(directory, store, argv.includes('--keep')))
  return exitStatus
}

async function tour(directory: string, storePath: string): Promise<void> {
  const layout = join(directory, 'image')
  title('An image')
  const isRunnable = writeSampleImage(layout, process.arch)
  say(`Two layers and a config, written as an OCI layout to ${layout}`)
  say('A registry, a docker save archive or a plain tar would do as well: docs/images.md')

  title('A bundle')
  await using store = await openStore({ path: storePath })
  const image = `oci:${layout}:${SAMPLE_TAG}`
  const bundle = await create(store, image, 'hello')
  if (!isRoot) say('Not root: all files belong to you, as with --ignore-ownership')

  title('What is in it')
  for (const line of treeLines(bundle)) say(line)
  say('')
  say('image.json is the config of the image as it was verified, config.json what runc reads.')

  title('What will be run')
  say(`The "process" of config.json, from the image's config and its /etc/passwd:`)
  for (const line of processLines(bundle)) say(line)
  if (!isRoot) say('Not root: the container has one user id, 0, and that is you.')

  title('Running it')
  runBundle(bundle, `hello-${process.pid}`, join(directory, 'runc'), isRunnable)

  title('Again')
  await create(store, image, 'hello-2')
  say('The layers are in the store, so the image was not read again.')
  const { disk_usage } = await store.stats('hello-2', { signal: stop.signal })
  say(`groot stats hello-2   ${JSON.stringify({ disk_usage })}`)
  const report = await store.check({ signal: stop.signal })
  const { objects, layers, problems } = report
  const counts = [counted(objects, 'object'), counted(layers, 'layer'), counted(problems.length, 'problem')]
  say(`groot check           ${counts.join(', ')}`)
}

async function create(store: GrootStore, image: string, id: string): Promise<string> {
  const began = performance.now()
  const layers: string[] = []
  const { bundle } = await store.create({
    image,
    id,
    ignoreOwnership: !isRoot,
    signal: stop.signal,
    onEvent: (event) => {
      if (event.kind === 'layer-done')
        layers.push(`layer ${event.diffId.slice(0, 19)}… verified, ${event.entries} entries`)
    },
  })
  const ms = Math.round(performance.now() - began)
  say(`groot create ${image} ${id}`)
  for (const layer of layers) say(`  ${layer}`)
  say(`  ${bundle}   (${ms} ms)`)
  return bundle
}

/** Directories first, then names; a link with its target, a file with its size. */
function treeLines(directory: string, indent = ''): string[] {
  const entries = readdirSync(directory, { withFileTypes: true })
  const rank = (isDirectory: boolean) => (isDirectory ? 0 : 1)
  entries.sort((a, b) => rank(a.isDirectory()) - rank(b.isDirectory()) || (a.name < b.name ? -1 : 1))
  return entries.flatMap((entry, index) => {
    const isLast = index === entries.length - 1
    const path = join(directory, entry.name)
    const line = `${indent}${isLast ? '└── ' : '├── '}${entry.name}`
    if (entry.isDirectory()) return [`${line}/`, ...treeLines(path, `${indent}${isLast ? '    ' : '│   '}`)]
    if (entry.isSymbolicLink()) return [`${line} → ${readlinkSync(path)}`]
    return [`${line.padEnd(34)} ${lstatSync(path).size} bytes`]
  })
}

function processLines(bundle: string): string[] {
  const config = JSON.parse(readFileSync(join(bundle, 'config.json'), 'utf8')) as {
    readonly process: Readonly<Record<string, unknown>>
  }
  return ['args', 'env', 'cwd', 'user'].map(
    (key) => `${key.padEnd(6)} ${JSON.stringify(config.process[key])}`,
  )
}

function runBundle(bundle: string, id: string, state: string, isRunnable: boolean): void {
  if (!isRunnable)
    return say(`Skipped: the image has a program for x64 and arm64 only, this machine is ${process.arch}`)
  // Ordinary users often do not have the directories of administrators' programs on their PATH.
  const env = { ...process.env, PATH: `${process.env.PATH ?? ''}:/usr/local/sbin:/usr/sbin:/sbin` }
  const version = spawnSync('runc', ['--version'], { encoding: 'utf8', env })
  if (version.error !== undefined)
    return say('Skipped: there is no runc on the PATH (on Debian: apt install runc)')
  say(`runc run -b ${bundle} ${id}`)
  const run = spawnSync('runc', ['--root', state, 'run', '-b', bundle, id], {
    encoding: 'utf8',
    timeout: 30_000,
    env,
  })
  if (run.status === 0) {
    for (const line of run.stdout.trimEnd().split('\n')) say(`  ${visible(line)}`)
    return
  }
  spawnSync('runc', ['--root', state, 'delete', '--force', id], { env }) // of one that hangs
  const why = run.error?.message ?? (run.stderr.trim().split('\n').at(-1) || `exit status ${run.status}`)
  say(`Skipped: runc may not run containers here: ${visible(why)}`)
  if (!isRoot) say('Without root it needs user namespaces and a cgroup that you may write, or none.')
}

async function cleanUp(directory: string, store: string, isKept: boolean): Promise<void> {
  if (isKept) {
    title('Kept')
    say(`${directory}`)
    say(`Delete the store with: groot --store ${store} delete-store --force`)
    return
  }
  await deleteStore({ path: store, force: true })
  rmSync(directory, { recursive: true, force: true })
  title('Cleaned up')
  say(
    `Both bundles, the store and ${directory} are gone. With --keep they stay: npm run quickstart -- --keep`,
  )
}

function title(text: string): void {
  process.stdout.write(`\n${++step}. ${text}\n`)
}

function say(line: string): void {
  process.stdout.write(line === '' ? '\n' : `   ${line}\n`)
}

process.exitCode = await quickstart(process.argv.slice(2))
