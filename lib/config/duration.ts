/**
 * Times as Go programs write them in their files: `1.5s`, `2m30s`, `300ms`.
 */

const UNIT_MS: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  μs: 1e-3,
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
}
const PART = /(\d{1,9}(?:\.\d{0,9})?|\.\d{1,9})(ns|us|µs|μs|ms|s|m|h)/y
const MAX_LENGTH = 64

/** @returns milliseconds; null for what is no duration, or a negative one */
export function parseDuration(text: string): number | null {
  if (text === '0') return 0
  if (text === '' || text.length > MAX_LENGTH) return null
  let ms = 0
  PART.lastIndex = 0
  while (PART.lastIndex < text.length) {
    const part = PART.exec(text)
    if (part === null) return null
    ms += Number(part[1]) * UNIT_MS[part[2]!]!
  }
  return ms
}
