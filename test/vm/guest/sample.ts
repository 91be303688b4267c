/**
 * The images of the checks, which the host puts on the system disk as an OCI layout, and stores for them.
 */
import { existsSync } from 'node:fs'
import { type GrootStore, initStore, openStore } from '../../../lib/index.js'
import { layer } from '../../../lib/testkit/layer.js'
import { comparedImages } from '../../images/fixtures.js'
import type { OwnImage } from '../../images/layout.js'
import { IMAGES } from '../machine/places.js'

/** Each check alters a file of its own, so that they do not depend on each other. */
export const FILES = ['read', 'appended', 'swapped', 'mistaken', 'altered', 'lost'] as const
export type FileName = (typeof FILES)[number]

const LINES = 800

/** Three blocks and a bit, no two of them equal. */
export function contentOf(name: FileName): string {
  return Array.from({ length: LINES }, (_, line) => `${name} line ${line}\n`).join('')
}

/** Small enough to stand in the image itself. */
export const INLINE = 'this text stands in the image\n'

function sealedImage(): OwnImage {
  const lower = layer().dir('files').file('inline', INLINE)
  for (const name of FILES) lower.file(`files/${name}`, contentOf(name))
  // So that the image has blocks of its own that are far from its beginning.
  const upper = layer().dir('names')
  for (let i = 0; i < 200; i++) upper.file(`names/file-with-a-name-of-some-length-${i}`, `${i}`)
  return { name: 'sealed', layers: [lower.build(), upper.build()], config: { Cmd: ['none'] } }
}

/** The image of every kind of entry, as `odd`, beside that of the checks. */
export function sampleImages(): readonly OwnImage[] {
  return [sealedImage(), ...comparedImages().filter((image) => image.name === 'odd')]
}

/** How groot is told an image of the system disk. */
export function imageNamed(name: 'sealed' | 'odd'): string {
  return `oci:${IMAGES}:${name}`
}

/** Opens the store of a name, which is made first when there is none; on this thread, where the checks are. */
export async function storeIn(
  directory: string,
  driver: string,
  driverOptions?: unknown,
): Promise<GrootStore> {
  const path = `${directory}/${driver}`
  if (!existsSync(`${path}/store.json`))
    await initStore({ path, driver, ...(driverOptions === undefined ? {} : { driverOptions }) })
  return await openStore({ path, make: false, thread: 'caller' })
}
