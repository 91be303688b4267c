/**
 * Help, by yargs from the option table. Imported only when help is shown: loading yargs takes longer than most verbs.
 */
import yargs, { type Argv, type Options } from 'yargs'
import { isGroup, optionSpec, synopsis, verbSpec, verbsOf } from './option-lookup.js'
import { GLOBAL_OPTIONS, GROUPS, type GroupName, type OptionName, type VerbName } from './options.js'
import { readValue } from './values.js'

/**
 * The help of one verb, of a group of verbs, or of the command.
 *
 * @param columns width to fold lines at
 */
export async function helpText(what: VerbName | GroupName | null, columns: number): Promise<string> {
  const parser = emptyParser([]).wrap(Math.min(Math.max(columns, 60), 110))
  if (what !== null && !isGroup(what)) return textOf(verbHelp(parser, what), verbSpec(what).examples, '')
  const examples = what === null ? COMMAND_EXAMPLES : GROUPS[what].examples
  const more = `\nThe options of a verb: groot ${what === null ? '' : `${what} `}VERB --help\n`
  return textOf(what === null ? commandHelp(parser) : groupHelp(parser, what), examples, more)
}

async function textOf(help: Argv, examples: Examples, more: string): Promise<string> {
  return `${(await help.getHelp()).trimEnd()}\n${exampleText(examples)}${more}`
}

type Examples = readonly (readonly [line: string, what: string])[]

const COMMAND_EXAMPLES = [
  ['groot create docker:///alpine web-1', 'make a bundle, print its path'],
  ['runc run -b "$(groot create docker:///alpine web-2)" web-2', 'make one and run it'],
] as const

/** Each example on a line of its own, never folded: it is there to be copied. */
function exampleText(examples: Examples): string {
  if (examples.length === 0) return ''
  return `\nExamples:\n${examples.map(([line, what]) => `  # ${what}\n  ${line}\n`).join('')}`
}

/**
 * A parser of whole command lines by yargs, from the same table; the fast one of parse.ts is held against it. It leaves verb
 * and operands in `_` and does not judge them.
 */
export function referenceParser(argv: readonly string[]): Argv {
  let parser = withOptions(emptyParser(argv), GLOBAL_OPTIONS)
  parser = withVerbs(parser, null)
  for (const [group, { about }] of Object.entries(GROUPS) as [GroupName, { about: string }][]) {
    parser = parser.command(group, about, (builder) => withVerbs(builder, group).demandCommand(1))
  }
  return parser
    .demandCommand(1)
    .strictOptions()
    .exitProcess(false)
    .fail((message, error) => {
      throw error ?? new Error(message)
    })
}

function withVerbs(parser: Argv, group: GroupName | null): Argv {
  return verbsOf(group).reduce((known, verb) => {
    const { about, options } = verbSpec(verb)
    return known.command(verb.split(' ').at(-1)!, about, (builder) => withOptions(builder, options))
  }, parser)
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
  for (const verb of verbsOf(null)) help = help.command(synopsis(verb), verbSpec(verb).about)
  for (const [group, { about }] of Object.entries(GROUPS)) help = help.command(`${group} VERB …`, about)
  return withOptions(help, GLOBAL_OPTIONS).group([...GLOBAL_OPTIONS], 'Options, before or after the verb:')
}

function groupHelp(parser: Argv, group: GroupName): Argv {
  let help = parser.usage(`groot ${group} VERB …\n\n${GROUPS[group].about}.`)
  for (const verb of verbsOf(group)) help = help.command(synopsis(verb), verbSpec(verb).about)
  return help
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
