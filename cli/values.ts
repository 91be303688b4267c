/**
 * Values of options: text from the command line to what the table says they are.
 */
import { UsageError } from '../lib/index.js'
import { optionSpec } from './option-lookup.js'
import type { OptionName } from './options.js'
import { quoted } from './text.js'

/**
 * Reads the value of an option; flags have none and are not read here.
 *
 * @throws {UsageError} `option-invalid`
 */
export function readValue(name: OptionName, text: string, shown = `--${name}`): string | number {
  const spec = optionSpec(name)
  if (text === '') throw invalid(name, text, `it needs ${spec.value}`, shown)
  if (spec.type === 'duration') return readDuration(name, text)
  if (spec.type === 'age') return readAge(name, text)
  if (spec.type === 'bytes') return readBytes(name, text, shown)
  if (spec.type === 'count') return readCount(name, text)
  if (spec.choices !== undefined && !spec.choices.includes(text)) {
    throw invalid(name, text, `it needs one of ${spec.choices.join(', ')}`)
  }
  return text
}

const UNIT_MS = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }
const MAX_TIMER_MS = 2 ** 31 - 1 // what a timer of Node can wait: 24 days

function readDuration(name: OptionName, text: string): number {
  const [, number = '', unit = 's'] = /^(\d{1,12}(?:\.\d{1,6})?)(ms|s|m|h)?$/.exec(text) ?? []
  if (number === '') throw invalid(name, text, 'it needs a time as 500ms, 90s, 2m or a number of seconds')
  // The pattern lets nothing through that is not a key.
  const ms = Math.round(Number(number) * UNIT_MS[unit as keyof typeof UNIT_MS])
  if (ms > MAX_TIMER_MS) throw invalid(name, text, 'it can be 24 days at most')
  return ms
}

const UNIT_OF_AGE_MS = { ...UNIT_MS, d: 86_400_000, w: 604_800_000 }

function readAge(name: OptionName, text: string): number {
  const [, number = '', unit = 's'] = /^(\d{1,9}(?:\.\d{1,6})?)(ms|s|m|h|d|w)?$/.exec(text) ?? []
  if (number === '') throw invalid(name, text, 'it needs a time as 90m, 12h, 30d, 4w or a number of seconds')
  // The pattern lets nothing through that is not a key.
  return Math.round(Number(number) * UNIT_OF_AGE_MS[unit as keyof typeof UNIT_OF_AGE_MS])
}

const UNIT_BYTES = { '': 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3, TiB: 1024 ** 4 }

function readBytes(name: OptionName, text: string, shown: string): number {
  const [, number = '', unit = ''] = /^(\d{1,16})((?:[KMGT]iB)?)$/.exec(text) ?? []
  if (number === '')
    throw invalid(name, text, 'it needs a number of bytes, or one with KiB, MiB, GiB or TiB', shown)
  const bytes = Number(number) * UNIT_BYTES[unit as keyof typeof UNIT_BYTES]
  if (!Number.isSafeInteger(bytes)) throw invalid(name, text, 'it is too large', shown)
  return bytes
}

const MAX_COUNT = 1024

function readCount(name: OptionName, text: string): number {
  const count = /^\d{1,4}$/.test(text) ? Number(text) : 0
  if (count < 1 || count > MAX_COUNT) throw invalid(name, text, `it needs a number from 1 to ${MAX_COUNT}`)
  return count
}

function invalid(name: OptionName, text: string, why: string, shown = `--${name}`): UsageError {
  return new UsageError('option-invalid', `Cannot use ${quoted(text)} for ${shown}: ${why}`, {
    facts: { option: name, value: text },
  })
}
