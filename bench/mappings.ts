/**
 * What a further id mapping of an image takes that the store has under another one: time, time of the processor, and bytes
 * on disk. Run as `node dist/bench/mappings.js --help`.
 */
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { type GrootStore, openStore } from '../lib/index.js'
import { layer } from '../lib/testkit/layer.js'
import { writeLayout } from '../test/images/layout.js'
import { markdown } from './table.js'

const USAGE = `usage: node dist/bench/mappings.js [options]

  --files N      files of the image (default: 15000)
  --mappings N   how many mappings are made (default: 5)
  --driver NAME  (default: overlay)
  --work DIR     where image and store go (default: ${tmpdir()})

Needs root.`

const FILES_PER_DIRECTORY = 100

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      files: { type: 'string', default: '15000' },
      mappings: { type: 'string', default: '5' },
      driver: { type: 'string', default: 'overlay' },
      work: { type: 'string', default: tmpdir() },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) return console.log(USAGE)
  const place = mkdtempSync(join(values.work, 'groot-mappings-'))
  try {
    const image = writeImage(`${place}/image`, Number(values.files))
    await using store = await openStore({ path: `${place}/store`, driver: values.driver, thread: 'caller' })
    await store.create({ image, id: 'unmapped' })
    await store.delete('unmapped')
    const rows: string[][] = []
    for (let i = 0; i < Number(values.mappings); i++) {
      rows.push(await measure(store, image, 100_000 * (i + 1), `${place}/store`))
    }
    console.log(
      markdown(['mapping', 'wall ms', 'processor ms', 'objects, bytes more', 'driver, bytes more'], rows),
    )
  } finally {
    rmSync(place, { recursive: true, force: true })
  }
}

function writeImage(directory: string, files: number): string {
  const made = layer()
  for (let i = 0; i < files; i++) {
    if (i % FILES_PER_DIRECTORY === 0) made.dir(`d${i / FILES_PER_DIRECTORY}`)
    const content = `the content of file ${i}, which is longer than what an image keeps in itself `
    made.file(`d${Math.floor(i / FILES_PER_DIRECTORY)}/f${i}`, content, { uid: i % 5, gid: i % 7 })
  }
  writeLayout(directory, [{ name: 'image', layers: [made.build()], config: {} }], ['gzip'])
  return `oci:${directory}:image`
}

async function measure(store: GrootStore, image: string, hostId: number, path: string): Promise<string[]> {
  const range = [{ containerId: 0, hostId, size: 65_536 }]
  const before = [bytesIn(`${path}/objects`), bytesIn(`${path}/drivers`)] as const
  const beganAt = performance.now()
  const cpu = process.cpuUsage()
  await store.create({ image, id: 'mapped', mapping: { uid: range, gid: range } })
  const { user, system } = process.cpuUsage(cpu)
  const wallMs = performance.now() - beganAt
  await store.delete('mapped')
  const more = [bytesIn(`${path}/objects`) - before[0], bytesIn(`${path}/drivers`) - before[1]]
  return [`0:${hostId}:65536`, wallMs.toFixed(0), ((user + system) / 1000).toFixed(0), ...more.map(String)]
}

function bytesIn(directory: string): number {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .reduce((sum, entry) => sum + statSync(join(entry.parentPath, entry.name)).size, 0)
}

await main()
