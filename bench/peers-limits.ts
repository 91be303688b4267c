/**
 * What the machine itself takes for parts of the work: no tool that does all of it can be faster than these.
 */
import { mkdirSync } from 'node:fs'
import { removeTree } from '../lib/linux/remove-tree.js'
import { findTool } from '../test/images/tools.js'
import { unmountBelow } from './filesystem.js'
import { readImage } from './images.js'
import { measure } from './measure.js'
import type { Bench } from './peers-rows.js'
import { runNow, script } from './peers-tools.js'

const SHORT_TIMES = 5

/** Decompression and hashes alone, and files without a store. */
export async function measureLimits(bench: Bench, name: string): Promise<void> {
  const directory = `${bench.places.place}/limits`
  const blobs = readImage(bench.places.layout, name).layers.map(({ path }) => path)
  const each = (program: string) => blobs.map((blob) => `${program} <${blob} >/dev/null`).join('\n')
  mkdirSync(`${directory}/tree`, { recursive: true })
  try {
    runNow(script(null, blobs.map((blob, i) => `gzip -dc <${blob} >${directory}/${i}.tar`).join('\n')))
    const tars = blobs.map((_, i) => `${directory}/${i}.tar`)
    const rows: Record<string, string> = {
      'gzip -dc': each('gzip -dc'),
      ...(findTool('igzip') === null ? {} : { 'igzip -dc': each('igzip -dc') }),
      'sha256sum of the blobs': `sha256sum ${blobs.join(' ')}`,
      'sha256sum of the plain tars': `sha256sum ${tars.join(' ')}`,
      'tar -xf of the plain tars': tars.map((tar) => `tar -C ${directory}/tree -xf ${tar}`).join('\n'),
      'cp -a of the tree': `cp -a ${directory}/tree ${directory}/copy`,
    }
    for (const [row, text] of Object.entries(rows)) await limit(bench, name, row, text)
  } finally {
    removeTree(directory)
  }
}

/** What any command of this runtime takes, and any create that mounts. */
export async function measureShortLimits(bench: Bench): Promise<void> {
  const directory = `${bench.places.place}/limits`
  for (const name of ['lower', 'upper', 'work', 'merged'])
    mkdirSync(`${directory}/${name}`, { recursive: true })
  try {
    const options = `lowerdir=${directory}/lower,upperdir=${directory}/upper,workdir=${directory}/work`
    const mount = `mount -t overlay -o ${options} overlay ${directory}/merged && umount ${directory}/merged`
    for (let i = 0; i < SHORT_TIMES; i++) {
      await limit(bench, 'any', 'mount, umount of an overlay', mount)
      for (const { program, suffix } of bench.runtimes)
        await limit(bench, 'any', `node -e 0${suffix}`, `${program} -e 0`)
    }
  } finally {
    unmountBelow(directory)
    removeTree(directory)
  }
}

async function limit(
  { places, results, signal }: Bench,
  of: string,
  row: string,
  text: string,
): Promise<void> {
  results.time('limits', of, row, await measure(script(null, text), places.place, signal))
}
