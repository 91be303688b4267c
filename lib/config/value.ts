/**
 * Values of configuration files, read key by key.
 *
 * A Value knows its file and its key, so that every complaint names both. What stands there is never shown: these files
 * hold passwords. Unknown keys are nobody's business here; the parsers beside this file say which they know.
 */
import { UsageError } from '../errors.js'
import { quote } from '../image/json.js'

export interface Value {
  /** Absolute path, for messages. */
  readonly file: string
  /** As people write it: `registry[0].mirror[1].location`; empty for the whole file. */
  readonly key: string
  /** Undefined when absent, or null in JSON. */
  readonly found: unknown
}

export const MAX_CONFIG_BYTES = 1024 * 1024 // the largest in use have some 100 KB; a parser's time is not linear

const MAX_ITEMS = 10_000

/** @throws {UsageError} `configuration-invalid` always: file, key and cause */
export function refuse(value: Value, problem: string): never {
  throw invalidConfiguration(value.file, value.key, problem)
}

/** @param key empty when it is the file as a whole */
export function invalidConfiguration(file: string, key: string, problem: string): UsageError {
  const what = key === '' ? 'it' : key
  return new UsageError('configuration-invalid', `Cannot use ${quote(file)}: ${what} ${problem}`, {
    facts: { file, key, problem },
  })
}

/** A member of a table; undefined inside when it is absent. Own members only. */
export function member(parent: Value, name: string): Value {
  const table = isTable(parent.found) ? parent.found : {}
  const found = Object.hasOwn(table, name) ? (table[name] ?? undefined) : undefined
  return { file: parent.file, key: `${parent.key}${segment(parent.key, name)}`, found }
}

/** The members of a table, in the order of the file; none when it is absent. */
export function members(table: Value): [name: string, value: Value][] {
  if (table.found === undefined) return []
  if (!isTable(table.found)) refuse(table, `is ${kindOf(table.found)}, not a table`)
  const names = Object.keys(table.found)
  if (names.length > MAX_ITEMS) refuse(table, `has more than ${MAX_ITEMS} members`)
  return names.map((name) => [name, member(table, name)])
}

/** The elements of a list; none when it is absent. */
export function items(list: Value): Value[] {
  if (list.found === undefined) return []
  if (!Array.isArray(list.found)) refuse(list, `is ${kindOf(list.found)}, not a list`)
  if (list.found.length > MAX_ITEMS) refuse(list, `has more than ${MAX_ITEMS} items`)
  return list.found.map((found: unknown, index) => ({
    file: list.file,
    key: `${list.key}[${index}]`,
    found: found ?? undefined,
  }))
}

export function text(value: Value): string {
  if (typeof value.found !== 'string') refuse(value, `is ${kindOf(value.found)}, not a text`)
  return value.found
}

/** Absent and empty are the same: nothing was said. */
export function optionalText(value: Value): string | undefined {
  return value.found === undefined ? undefined : text(value) || undefined
}

export function texts(list: Value): string[] {
  return items(list).map(text)
}

/** One text or a list of them, as some keys allow. */
export function textOrTexts(value: Value): string[] {
  return typeof value.found === 'string' ? [value.found] : texts(value)
}

export function flag(value: Value): boolean | undefined {
  if (value.found === undefined) return undefined
  if (typeof value.found !== 'boolean') refuse(value, `is ${kindOf(value.found)}, not true or false`)
  return value.found
}

/** The keys of a table that are not among those that are known, in full. */
export function unknownKeys(table: Value, known: ReadonlySet<string>): string[] {
  return members(table)
    .filter(([name]) => !known.has(name))
    .map(([, { key }]) => key)
}

export function isTable(found: unknown): found is Record<string, unknown> {
  return typeof found === 'object' && found !== null && !Array.isArray(found) && !(found instanceof Date)
}

export function kindOf(found: unknown): string {
  if (found === undefined) return 'missing'
  if (found === null) return 'null'
  if (typeof found === 'string') return 'a text'
  if (typeof found === 'number' || typeof found === 'bigint') return 'a number'
  if (typeof found === 'boolean') return 'true or false'
  if (Array.isArray(found)) return 'a list'
  return found instanceof Date ? 'a date' : 'a table'
}

function segment(parent: string, name: string): string {
  if (!/^[A-Za-z_][A-Za-z0-9_-]{0,99}$/.test(name)) return `[${quote(name)}]`
  return parent === '' ? name : `.${name}`
}
