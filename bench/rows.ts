/**
 * What is measured for each image: groot's verbs, its ingest alone, and what others need for the same.
 */
import { mkdirSync, rmSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { BenchImage } from './images.js'
import type { Command } from './measure.js'

const DIST = resolve(dirname(fileURLToPath(import.meta.url)), '..')
export const MAIN = join(DIST, 'cli/main.cjs')

export interface Row {
  readonly name: string
  /** What it means, for the table's notes. */
  readonly about: string
  /** Done before, and not measured. */
  prepare?(): void
  readonly command: Command
}

export interface Place {
  /** The filesystem that everything is written to. */
  readonly work: string
  readonly layout: string
  /** HOST:PORT of a registry with the same images; optional. */
  readonly registry: string | undefined
}

/** The rows of one image in the order of a round; each leaves what the next begins with. */
export function rowsOf(image: BenchImage, place: Place): Row[] {
  const store = `${place.work}/store`
  const ingested = `${place.work}/ingested`
  const unpacked = `${place.work}/unpacked`
  const oci = `oci:${place.layout}:${image.name}`
  const groot = (...args: string[]): Command => ({
    argv: [process.execPath, MAIN, '--store', store, ...args],
  })
  const rows: Row[] = [
    {
      name: 'create, cold, registry',
      about: 'groot create (vfs) of an image that a new store does not have, from a registry of the loopback',
      prepare: () => empty(store),
      command: groot('create', ...registryReference(image.name, place.registry ?? ''), 'one'),
    },
    {
      name: 'create, cold',
      about: 'groot create (vfs) of an image that a new store does not have, from an OCI layout',
      prepare: () => empty(store),
      command: groot('create', oci, 'one'),
    },
    {
      name: 'create, cached',
      about: 'groot create (vfs) of another bundle of an image that the store has',
      command: groot('create', oci, 'two'),
    },
    { name: 'delete', about: 'groot delete of one of the two bundles', command: groot('delete', 'one') },
    {
      name: 'ingest alone',
      about:
        'layers of the layout verified and read into objects and layer records of a new store; no rootfs',
      prepare: () => empty(ingested),
      command: { argv: [process.execPath, join(DIST, 'bench/ingest.js'), ingested, oci] },
    },
    {
      name: 'umoci unpack',
      about: 'umoci unpack of the same image from the same layout',
      prepare: () => empty(unpacked),
      command: { argv: ['umoci', 'unpack', '--image', `${place.layout}:${image.name}`, unpacked] },
    },
    {
      name: 'gzip, tar, sha256sum',
      about:
        'for each layer: sha256sum of the blob, then gzip -dc into tar -x; no whiteouts, no digest of the plain tar',
      prepare: () => {
        empty(unpacked)
        mkdirSync(unpacked)
      },
      command: { argv: ['sh', '-euc', untar(image)], cwd: unpacked },
    },
  ]
  return place.registry === undefined ? rows.slice(1) : rows
}

/** Takes away what the rows of an image left. */
export function clear(place: Place): void {
  for (const name of ['store', 'ingested', 'unpacked']) empty(`${place.work}/${name}`)
}

function empty(directory: string): void {
  rmSync(directory, { recursive: true, force: true })
}

/** NAME:latest, and NAME:NN for an image that the layout calls NAME-NN. */
function registryReference(name: string, registry: string): string[] {
  const [repository, tag = 'latest'] = name.split('-')
  return ['--insecure-registry', registry, `docker://${registry}/${repository}:${tag}`]
}

function untar({ layers }: BenchImage): string {
  const quote = (text: string) => `'${text.replaceAll("'", `'\\''`)}'`
  return layers.map(({ path }) => `sha256sum ${quote(path)}; gzip -dc ${quote(path)} | tar -xf -`).join('\n')
}
