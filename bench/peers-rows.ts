/**
 * What is measured of each tool: what a round does with it for one image, and for series of images. Before each, its storage
 * is made new; afterwards nothing of it is left.
 */
import { diskUse } from './filesystem.js'
import { measure } from './measure.js'
import type { Results } from './peers-results.js'
import { inTurn, type PeerImage, type Places, type Runtime, type Tool } from './peers-tools.js'

export const PARTS = [
  'cold',
  'warm',
  'remove',
  'batch',
  'second',
  'copies',
  'library',
  'read',
  'memory',
  'limits',
] as const
export type Part = (typeof PARTS)[number]

export interface Bench {
  readonly places: Places
  readonly results: Results
  readonly parts: ReadonlySet<Part>
  readonly runtimes: readonly Runtime[]
  readonly signal: AbortSignal
}

const WARM_TIMES = 3
const BATCH = 50
const COPIES = 20

/** For the registry an image of the layout called NAME-NN is NAME:NN. */
export function peerImage({ registry }: Places, name: string): PeerImage {
  const [, repository = name, tag = 'latest'] = /^(.+)-(\d+)$/.exec(name) ?? []
  return { name, reference: `${registry}/${repository}:${tag}` }
}

/** Whether a tool can do at all what will be measured: one root filesystem, made and taken away. */
export async function tryOut(bench: Bench, tool: Tool, image: PeerImage): Promise<void> {
  await withStorage(tool, async () => {
    await run(bench, tool, tool.create(image, 'first'))
    await run(bench, tool, tool.createAgain(image, 'second'))
    await run(bench, tool, tool.remove('second', 'first'))
    await run(bench, tool, tool.removeImage(image))
  })
}

/** A cold create, and what can be done with what it left. */
export async function measureImage(
  bench: Bench,
  tool: Tool,
  image: PeerImage,
  hasBatch: boolean,
): Promise<void> {
  await withStorage(tool, async () => {
    await step(bench, tool, 'cold', 'cold create', image.name, tool.create(image, 'cold'))
    const times = tool.keepsImages ? WARM_TIMES : 1
    for (let i = 0; i < times && bench.parts.has('warm'); i++) {
      await step(bench, tool, 'warm', 'warm create', image.name, tool.createAgain(image, `warm${i}`))
      await step(bench, tool, 'warm', 'delete', image.name, tool.remove(`warm${i}`))
    }
    await run(bench, tool, tool.remove('cold'))
    if (hasBatch && tool.keepsImages && bench.parts.has('batch')) await measureBatch(bench, tool, image)
    if (bench.parts.has('remove'))
      await step(bench, tool, 'remove', 'image removal', image.name, tool.removeImage(image))
  })
}

async function measureBatch(bench: Bench, tool: Tool, image: PeerImage): Promise<void> {
  const ids = (name: string) => Array.from({ length: BATCH }, (_, i) => `${name}${i}`)
  const inSequence = ids('s').map((id) => tool.createAgain(image, id))
  await step(bench, tool, 'batch', `${BATCH} in sequence`, image.name, inTurn(inSequence))
  await run(bench, tool, tool.remove(...ids('s')))
  const begun = ids('p').map((id) => `( ${tool.createAgain(image, id)} ) & all="$all $!"`)
  const atOnce = `all=\n${begun.join('\n')}\nfor one in $all; do wait $one; done`
  await step(bench, tool, 'batch', `${BATCH} at once`, image.name, atOnce)
  await run(bench, tool, tool.remove(...ids('p')))
}

/** An image of which the storage has a part already: layers, or files only. */
export async function measureSecond(
  bench: Bench,
  tool: Tool,
  images: readonly [PeerImage, PeerImage],
): Promise<void> {
  const [first, second] = images
  await withStorage(tool, async () => {
    await run(bench, tool, tool.create(first, 'first'))
    const of = `${second.name} after ${first.name}`
    await step(bench, tool, 'second', 'second image', of, tool.create(second, 'second'))
  })
}

/** One image after another of which each shares nearly all files with the first, and no layer. */
export async function measureCopies(bench: Bench, tool: Tool): Promise<void> {
  const images = Array.from({ length: COPIES }, (_, i) =>
    peerImage(bench.places, `copies-${String(i).padStart(2, '0')}`),
  )
  await withStorage(tool, async () => {
    const creates = images.map((image, i) => tool.create(image, `copy${i}`))
    const of = `${COPIES} near-copies`
    await step(bench, tool, 'copies', 'near-copies', of, inTurn(creates))
    const bytes = diskUse(tool.storage)
    bench.results.value('near-copies, disk', of, tool.name, 'bytes', bytes)
    const own = tool.blobs === null ? bytes : bytes - diskUse(tool.blobs)
    bench.results.value('near-copies, disk without compressed blobs', of, tool.name, 'bytes', own)
  })
}

/** Measures one command, and keeps the sample where its part is asked for. */
async function step(
  bench: Bench,
  tool: Tool,
  part: Part,
  row: string,
  of: string,
  text: string,
): Promise<void> {
  const sample = await run(bench, tool, text)
  if (bench.parts.has(part)) bench.results.time(row, of, tool.name, sample)
}

function run({ places, signal }: Bench, tool: Tool, text: string) {
  return measure(tool.command(text), places.place, signal)
}

async function withStorage(tool: Tool, work: () => Promise<void>): Promise<void> {
  await tool.clear()
  try {
    await tool.prepare()
    await work()
  } finally {
    await tool.clear()
  }
}
