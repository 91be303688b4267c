/**
 * How much V8 lets pile up before it looks for what nobody needs any more.
 */
import type { GrootEvent } from '../lib/index.js'

/** Versions of Node whose V8 has the flag: another would complain of it on standard error. */
const TRIED = /^v2[0-4]\./

let isKeptSmall = false

/**
 * Keeps the memory for new objects as small as it is when the first layer is read. Of what reading makes little lives long, and
 * V8 would let up to 64 MB of it pile up.
 */
export function keepYoungGenerationSmall({ kind }: GrootEvent): void {
  if (kind !== 'layer-queued' || isKeptSmall || !TRIED.test(process.version)) return
  isKeptSmall = true
  process.getBuiltinModule('node:v8').setFlagsFromString('--semi-space-growth-factor=1')
}
