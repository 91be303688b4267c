/**
 * What a store's overlay driver can be told.
 */
import { UsageError, type VerityMode } from '../../lib/driver/kit.js'

export interface OverlayOptions {
  /** How far the kernel checks contents by fs-verity, unless a bundle asks for something else. Default: `try`. */
  readonly verity: VerityMode
  /** What bases are: composefs images, or directories where that cannot be. Default: what the machine can do. */
  readonly base: BaseKind | 'auto'
}

export type BaseKind = 'composefs' | 'directory'

const CHOICES: { readonly [K in keyof OverlayOptions]: readonly OverlayOptions[K][] } = {
  verity: ['try', 'require', 'off'],
  base: ['auto', 'composefs', 'directory'],
}

/** @throws {UsageError} `option-invalid` naming the key */
export function parseOptions(raw: unknown): OverlayOptions {
  const given = raw ?? {}
  if (typeof given !== 'object' || Array.isArray(given)) throw invalid(null, 'they are no object')
  const options: { -readonly [K in keyof OverlayOptions]: OverlayOptions[K] } = {
    verity: 'try',
    base: 'auto',
  }
  for (const [key, value] of Object.entries(given)) {
    if (key === 'verity') options.verity = choice(key, value)
    else if (key === 'base') options.base = choice(key, value)
    else throw invalid(key, 'the overlay driver knows verity and base')
  }
  return options
}

function choice<K extends keyof OverlayOptions>(key: K, value: unknown): OverlayOptions[K] {
  const found = CHOICES[key].find((each) => each === value)
  if (found !== undefined) return found
  throw invalid(key, `it is ${JSON.stringify(value)}, and may be ${CHOICES[key].join(', ')}`)
}

function invalid(option: string | null, cause: string): UsageError {
  const what = option === null ? 'driver options' : `driver option "${option}"`
  return new UsageError('option-invalid', `Cannot use ${what}: ${cause}`, {
    facts: { driver: 'overlay', option },
  })
}
