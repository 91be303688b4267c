/**
 * The parser of the command line: one pass over the arguments, driven by the option table.
 *
 * It accepts what yargs makes of the same table (a test holds the two together) and takes a fraction of a millisecond,
 * where loading yargs alone takes longer than most verbs. Options may stand anywhere, before the verb too; `--` ends them.
 */
import { UsageError } from '../lib/index.js'
import { isGroup, isVerb, optionSpec, synopsis, takes, verbSpec, verbsOf } from './option-lookup.js'
import {
  GLOBAL_OPTIONS,
  GROUPS,
  type GroupName,
  OPTIONS,
  type OptionName,
  type OptionSpec,
  type OptionValues,
  type VerbName,
} from './options.js'
import { nearest } from './suggest.js'
import { counted, quoted } from './text.js'
import { readValue } from './values.js'

/** What the command line asks for. */
export type CommandLine =
  | {
      readonly kind: 'run'
      readonly verb: VerbName
      readonly options: OptionValues
      readonly operands: readonly string[]
    }
  /** Help was asked for, or nothing at all was said. */
  | { readonly kind: 'help'; readonly verb: VerbName | GroupName | null; readonly isAsked: boolean }
  | { readonly kind: 'version' }

/**
 * Reads the arguments after the command's name.
 *
 * `--help` and `--version` win over mistakes elsewhere on the line. Of an option given twice the last one counts.
 *
 * @throws {UsageError} `usage-invalid`, `option-invalid`
 */
export function parseCommandLine(argv: readonly string[]): CommandLine {
  const scan = scanArguments(argv)
  const { group, typed, known, operands } = verbOf(scan.operands)
  const meant = known ?? group
  if (scan.given.get('help') === true) return { kind: 'help', verb: meant, isAsked: true }
  if (scan.given.get('version') === true) return { kind: 'version' }
  // Before the verb: the value of an option that nobody knows stands where the verb would.
  if (scan.unknown !== null) throw unknownOption(scan.unknown, known)
  if (typed !== null && known === null) throw unknownVerb(typed, group)
  if (scan.mistake !== null) throw scan.mistake
  if (known === null) return { kind: 'help', verb: group, isAsked: false }
  for (const name of scan.given.keys()) {
    if (!takes(known, name)) throw unknownOption(`--${name}`, known)
  }
  checkOperands(known, operands)
  // Each value was made by readValue for the option of that name.
  return { kind: 'run', verb: known, options: Object.fromEntries(scan.given) as OptionValues, operands }
}

interface TypedVerb {
  readonly group: GroupName | null
  /** What stands where the verb would; null when nothing does. */
  readonly typed: string | null
  /** The verb that it is. */
  readonly known: VerbName | null
  readonly operands: readonly string[]
}

/** The verb is one word, or two of which the first is a group's name. */
function verbOf(words: readonly string[]): TypedVerb {
  const [first = null, second = null, ...rest] = words
  if (first === null || !isGroup(first)) {
    const known = first !== null && isVerb(first) ? first : null
    return { group: null, typed: first, known, operands: words.slice(1) }
  }
  const name = `${first} ${second ?? ''}`
  return { group: first, typed: second, known: isVerb(name) ? name : null, operands: rest }
}

/**
 * How a command line wants its log, as far as that can be read: also of a line that is wrong elsewhere.
 */
export function logChoicesOf(argv: readonly string[]): LogChoices {
  const { given } = scanArguments(argv)
  const {
    'log-level': level,
    'log-format': format,
    quiet = false,
  } = Object.fromEntries(given) as OptionValues
  return { level: quiet ? 'error' : level, format }
}

export interface LogChoices {
  readonly level: OptionValues['log-level']
  readonly format: OptionValues['log-format']
}

type Value = boolean | string | number | readonly string[]

interface Scan {
  readonly given: Map<OptionName, Value>
  readonly operands: string[]
  /** The first option that nobody knows. */
  unknown: string | null
  /** The first value that is wrong. */
  mistake: UsageError | null
}

function scanArguments(argv: readonly string[]): Scan {
  const scan: Scan = { given: new Map(), operands: [], unknown: null, mistake: null }
  for (let at = 0; at < argv.length; at++) {
    const argument = argv[at]!
    if (argument === '--') {
      scan.operands.push(...argv.slice(at + 1))
      break
    }
    if (!argument.startsWith('-') || argument === '-') {
      scan.operands.push(argument)
      continue
    }
    const equals = argument.indexOf('=')
    const typed = equals < 0 ? argument : argument.slice(0, equals)
    const name = findOption(typed)
    if (name === null) {
      scan.unknown ??= typed
      continue
    }
    const inline = equals < 0 ? null : argument.slice(equals + 1)
    const isFlag = optionSpec(name).type === 'flag'
    const next = inline ?? (isFlag ? null : valueAfter(argv, at))
    if (inline === null && next !== null) at++
    noteOption(scan, name, next)
  }
  return scan
}

// A value that looks like an option is nearly always a forgotten one; `--name=-value` can still say it.
function valueAfter(argv: readonly string[], at: number): string | null {
  const next = argv[at + 1]
  return next === undefined || (next.startsWith('-') && next !== '-') ? null : next
}

function noteOption(scan: Scan, name: OptionName, text: string | null): void {
  try {
    const value = optionSpec(name).type === 'flag' ? readFlag(name, text) : readValue(name, text ?? '')
    if (optionSpec(name).type !== 'texts') scan.given.set(name, value)
    else
      scan.given.set(name, [
        ...((scan.given.get(name) as readonly string[] | undefined) ?? []),
        String(value),
      ])
  } catch (error) {
    if (!(error instanceof UsageError)) throw error
    scan.mistake ??= error
  }
}

function readFlag(name: OptionName, text: string | null): boolean {
  if (text === null || text === 'true') return true
  if (text === 'false') return false
  throw new UsageError('option-invalid', `Cannot use ${quoted(text)} for --${name}: it takes no value`, {
    facts: { option: name, value: text },
  })
}

function findOption(typed: string): OptionName | null {
  if (typed.startsWith('--')) {
    const name = typed.slice(2)
    return Object.hasOwn(OPTIONS, name) ? (name as OptionName) : null
  }
  for (const [name, spec] of Object.entries(OPTIONS) as [OptionName, OptionSpec][]) {
    if (spec.alias !== undefined && typed === `-${spec.alias}`) return name
  }
  return null
}

function checkOperands(verb: VerbName, operands: readonly string[]): void {
  const { arguments: wanted, repeats, optional } = verbSpec(verb)
  if (optional && operands.length === wanted.length - 1) return
  if (operands.length === wanted.length || (repeats && operands.length > wanted.length)) return
  const needed = wanted.length === 0 ? 'no arguments' : wanted.join(' and ')
  throw new UsageError(
    'usage-invalid',
    `Cannot run ${verb}: it takes ${needed}, not ${counted(operands.length, 'argument')}; use: groot ${synopsis(verb)}`,
    { facts: { verb, arguments: operands.length, needed: wanted.length } },
  )
}

function unknownVerb(typed: string, group: GroupName | null): UsageError {
  const prefix = group === null ? '' : `${group} `
  const names = verbsOf(group).map((verb) => verb.slice(prefix.length))
  const meant =
    typed === 'help' ? '--help' : nearest(typed, group === null ? [...names, ...Object.keys(GROUPS)] : names)
  return new UsageError(
    'usage-invalid',
    `Cannot run ${quoted(`${prefix}${typed}`)}: there is no such verb${advice(meant, group)}`,
    {
      facts: { verb: `${prefix}${typed}`, suggestion: meant },
    },
  )
}

function unknownOption(typed: string, verb: VerbName | null): UsageError {
  const known: OptionName[] = [...GLOBAL_OPTIONS, ...(verb === null ? [] : verbSpec(verb).options)]
  const name = typed.replace(/^-{1,2}/, '')
  const meant = nearest(name, verb === null ? Object.keys(OPTIONS) : known)
  const suggestion = meant === null || `--${meant}` === typed ? null : `--${meant}`
  const who = verb === null ? 'groot' : verb
  return new UsageError(
    'usage-invalid',
    `Cannot use the option ${quoted(typed)}: ${who} has no such option${advice(suggestion, verb)}`,
    { facts: { option: typed, verb, suggestion } },
  )
}

function advice(meant: string | null, verb: VerbName | GroupName | null): string {
  const help = `see groot ${verb === null ? '' : `${verb} `}--help`
  return meant === null ? `; ${help}` : `, did you mean "${meant}"? Else ${help}`
}
