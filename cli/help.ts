/**
 * Help, by yargs from the option table. Imported only when help is shown: loading yargs takes longer than most verbs.
 */
import yargs, { type Argv, type Options } from 'yargs'
import {
  GLOBAL_OPTIONS,
  type OptionName,
  optionSpec,
  synopsis,
  VERBS,
  type VerbName,
  verbSpec,
} from './options.js'
import { readValue } from './values.js'

/**
 * The help of one verb, or of the command.
 *
 * @param columns width to fold lines at
 */
export async function helpText(verb: VerbName | null, columns: number): Promise<string> {
  const parser = emptyParser([]).wrap(Math.min(Math.max(columns, 60), 110))
  const help = verb === null ? commandHelp(parser) : verbHelp(parser, verb)
  const examples = verb === null ? COMMAND_EXAMPLES : verbSpec(verb).examples
  const more = verb === null ? '\nThe options of a verb: groot VERB --help\n' : ''
  return `${(await help.getHelp()).trimEnd()}\n${exampleText(examples)}${more}`
}

const COMMAND_EXAMPLES = [
  ['groot create docker:///alpine web-1', 'make a bundle, print its path'],
  ['runc run -b "$(groot create docker:///alpine web-2)" web-2', 'make one and run it'],
] as const

/** Each example on a line of its own, never folded: it is there to be copied. */
function exampleText(examples: readonly (readonly [line: string, what: string])[]): string {
  if (examples.length === 0) return ''
  return `\nExamples:\n${examples.map(([line, what]) => `  # ${what}\n  ${line}\n`).join('')}`
}

/**
 * A parser of whole command lines by yargs, from the same table; the fast one of parse.ts is held against it. It leaves verb
 * and operands in `_` and does not judge them.
 */
export function referenceParser(argv: readonly string[]): Argv {
  let parser = withOptions(emptyParser(argv), GLOBAL_OPTIONS)
  for (const verb of Object.keys(VERBS) as VerbName[]) {
    const { about, options } = verbSpec(verb)
    parser = parser.command(verb, about, (builder) => withOptions(builder, options))
  }
  return parser
    .demandCommand(1)
    .strictOptions()
    .exitProcess(false)
    .fail((message, error) => {
      throw error ?? new Error(message)
    })
}

function emptyParser(argv: readonly string[]): Argv {
  return yargs([...argv])
    .scriptName('groot')
    .detectLocale(false)
    .help(false)
    .version(false)
    .parserConfiguration({
      'boolean-negation': false,
      'camel-case-expansion': false,
      'dot-notation': false,
      'greedy-arrays': false,
      'parse-numbers': false,
      'parse-positional-numbers': false,
      'short-option-groups': false,
    })
}

function commandHelp(parser: Argv): Argv {
  let help = parser.usage(
    'groot [options] VERB …\n\nRoot filesystems from container images, without a daemon.',
  )
  for (const verb of Object.keys(VERBS) as VerbName[])
    help = help.command(synopsis(verb), verbSpec(verb).about)
  return withOptions(help, GLOBAL_OPTIONS).group([...GLOBAL_OPTIONS], 'Options, before or after the verb:')
}

function verbHelp(parser: Argv, verb: VerbName): Argv {
  const { about, options } = verbSpec(verb)
  let help = withOptions(parser.usage(`groot ${synopsis(verb)}\n\n${about}.`), [
    ...options,
    ...GLOBAL_OPTIONS,
  ])
  if (options.length > 0) help = help.group([...options], `Options of ${verb}:`)
  return help.group([...GLOBAL_OPTIONS], 'Options of every verb:')
}

function withOptions(parser: Argv, names: readonly OptionName[]): Argv {
  return parser.options(Object.fromEntries(names.map((name) => [name, yargsOption(name)])))
}

function yargsOption(name: OptionName): Options {
  const spec = optionSpec(name)
  const common: Options = {
    describe: spec.value === undefined ? spec.about : `${spec.value}  ${spec.about}`, // yargs shows no placeholders
    ...(spec.alias === undefined ? {} : { alias: spec.alias }),
    ...(spec.choices === undefined ? {} : { choices: spec.choices }),
  }
  if (spec.type === 'flag') return { ...common, type: 'boolean', coerce: lastOf }
  if (spec.type === 'texts') return { ...common, type: 'array', string: true, requiresArg: true }
  const isPlain = spec.type === 'text' || spec.type === 'choice'
  const coerce = (given: unknown) => {
    const last = lastOf(given)
    return isPlain || last === undefined ? last : readValue(name, String(last))
  }
  return { ...common, type: 'string', requiresArg: true, coerce }
}

// Of what is given twice the last one counts; yargs would make a list of it.
function lastOf(given: unknown): unknown {
  return Array.isArray(given) ? given.at(-1) : given
}
