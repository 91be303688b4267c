/**
 * Platforms: what an image is made for, in Go's words (image-spec, image-index.md, "platform"), and which entry of an
 * index suits one best.
 *
 * Pure: the host's architecture is passed in, nothing here looks at the machine.
 */
import { NotFoundError, UsageError } from '../errors.js'
import { quote } from './json.js'

export interface Platform {
  readonly os: string
  readonly architecture: string
  readonly variant?: string
  readonly osVersion?: string
}

const WORD = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/

/**
 * Parses `os/arch[/variant]` and normalises it.
 *
 * @throws {UsageError} `platform-invalid`
 */
export function parsePlatform(text: string): Platform {
  const [os, architecture, variant, ...rest] = text.split('/')
  const words = variant === undefined ? [os, architecture] : [os, architecture, variant]
  if (rest.length > 0 || !words.every((word) => word !== undefined && WORD.test(word))) {
    throw new UsageError(
      'platform-invalid',
      `Cannot use platform ${quote(text)}: it has to be os/arch or os/arch/variant, such as linux/arm64`,
      { facts: { platform: text } },
    )
  }
  return normalizePlatform({
    os: os!,
    architecture: architecture!,
    ...(variant === undefined ? {} : { variant }),
  })
}

/** `linux/arm/v7`; what parsePlatform reads. */
export function formatPlatform({ os, architecture, variant }: Platform): string {
  return variant === undefined ? `${os}/${architecture}` : `${os}/${architecture}/${variant}`
}

const ARCHITECTURES: ReadonlyMap<string, Pick<Platform, 'architecture' | 'variant'>> = new Map([
  ['x86_64', { architecture: 'amd64' }],
  ['x86-64', { architecture: 'amd64' }],
  ['x64', { architecture: 'amd64' }],
  ['i386', { architecture: '386' }],
  ['i686', { architecture: '386' }],
  ['aarch64', { architecture: 'arm64' }],
  ['armhf', { architecture: 'arm', variant: 'v7' }],
  ['armel', { architecture: 'arm', variant: 'v6' }],
])

/** The variant that is meant when none is named; only arm has one that cannot be left out. */
const IMPLIED_VARIANT: ReadonlyMap<string, string> = new Map([
  ['amd64', 'v1'],
  ['arm64', 'v8'],
])

/**
 * One spelling for each platform: other names of an architecture, `7` for `v7`, arm without a variant is v7, amd64/v1 is
 * amd64 and arm64/v8 is arm64.
 */
export function normalizePlatform(platform: Platform): Platform {
  const given = platform.architecture.toLowerCase()
  const known = ARCHITECTURES.get(given)
  const architecture = known?.architecture ?? given
  const variant = normalizeVariant(architecture, platform.variant?.toLowerCase() || known?.variant)
  return {
    os: platform.os.toLowerCase(),
    architecture,
    ...(variant === undefined ? {} : { variant }),
    ...(platform.osVersion === undefined ? {} : { osVersion: platform.osVersion }),
  }
}

function normalizeVariant(architecture: string, given: string | undefined): string | undefined {
  const variant = given !== undefined && /^[0-9]+$/.test(given) ? `v${given}` : given
  if (architecture === 'arm') return variant ?? 'v7'
  return variant === IMPLIED_VARIANT.get(architecture) ? undefined : variant
}

const NODE_ARCHITECTURES: ReadonlyMap<string, string> = new Map([
  ['x64', 'amd64'],
  ['ia32', '386'],
  ['ppc64', 'ppc64le'], // Node is built for little-endian POWER only on Linux
  ['mipsel', 'mipsle'],
])

/**
 * The platform of a Linux machine.
 *
 * @param architecture `process.arch`
 * @param armVersion `process.config.variables.arm_version` on 32-bit arm
 */
export function hostPlatform(architecture: string, armVersion?: string): Platform {
  return normalizePlatform({
    os: 'linux',
    architecture: NODE_ARCHITECTURES.get(architecture) ?? architecture,
    ...(architecture === 'arm' && armVersion ? { variant: armVersion } : {}),
  })
}

/**
 * How well an image for `offered` suits `wanted`: 0 is exact, more is further away, null does not run.
 *
 * A processor runs what was made for lower variants of its architecture, never what was made for higher ones.
 */
export function platformDistance(wanted: Platform, offered: Platform): number | null {
  const want = normalizePlatform(wanted)
  const offer = normalizePlatform(offered)
  if (want.os !== offer.os || want.architecture !== offer.architecture) return null
  if (want.osVersion !== undefined && want.osVersion !== offer.osVersion) return null
  if (want.variant === offer.variant) return 0
  const distance = level(want) - level(offer)
  return distance > 0 ? distance : null // NaN, from variants that are not vN, is not more than 0 either
}

function level({ architecture, variant }: Platform): number {
  const text = variant ?? IMPLIED_VARIANT.get(architecture) ?? ''
  return /^v[0-9]{1,3}$/.test(text) ? Number(text.slice(1)) : Number.NaN
}

/** Whether an entry of an index is no image: build tools list attestations under `unknown/unknown`. */
export function isAttestation(platform: Platform | undefined): boolean {
  return platform?.os === 'unknown' || platform?.architecture === 'unknown'
}

/**
 * The entries of an index that suit a platform, best first; equal ones stay in the order of the index.
 *
 * Entries that name no platform come last, because only their content tells; attestations are left out.
 */
export function rankByPlatform<T extends { readonly platform?: Platform }>(
  entries: readonly T[],
  wanted: Platform,
): T[] {
  const ranked: { entry: T; distance: number }[] = []
  for (const entry of entries) {
    if (isAttestation(entry.platform)) continue
    const distance =
      entry.platform === undefined ? Number.MAX_VALUE : platformDistance(wanted, entry.platform)
    if (distance !== null) ranked.push({ entry, distance })
  }
  return ranked.sort((a, b) => a.distance - b.distance).map(({ entry }) => entry)
}

/** The error for an image that exists, but not for the platform that was asked for. */
export function platformMissing(
  image: string,
  wanted: Platform,
  offered: readonly Platform[],
): NotFoundError {
  const available = [...new Set(offered.filter((it) => !isAttestation(it)).map(formatPlatform))].slice(0, 32)
  const found = available.length === 0 ? 'for no platform that it names' : `for ${available.join(', ')}`
  return new NotFoundError(
    'platform-missing',
    `Cannot use image ${quote(image)} on ${formatPlatform(wanted)}: it is ${found}`,
    { facts: { image, platform: formatPlatform(wanted), available } },
  )
}
