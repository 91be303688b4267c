import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { referenceParser } from '../../cli/help.js'
import { isGroup, optionSpec, verbSpec } from '../../cli/option-lookup.js'
import { GLOBAL_OPTIONS, OPTIONS, type OptionName, VERBS, type VerbName } from '../../cli/options.js'
import { logChoicesOf, parseCommandLine } from '../../cli/parse.js'

const parse = (line: string) => parseCommandLine(line === '' ? [] : line.split(' '))

describe('a command line', () => {
  it('gives the verb, its options and its operands', () => {
    expect(
      parse(
        '--store /s create --platform linux/arm64 --json oci:dir:tag --insecure-registry a:1 web --insecure-registry=b --lock-timeout=2m --max-file-bytes 1KiB',
      ),
    ).toEqual({
      kind: 'run',
      verb: 'create',
      options: {
        store: '/s',
        platform: 'linux/arm64',
        json: true,
        'insecure-registry': ['a:1', 'b'],
        'lock-timeout': 120_000,
        'max-file-bytes': 1024,
      },
      operands: ['oci:dir:tag', 'web'],
    })
  })

  it('takes options before and after the verb, its own ones too', () => {
    const expected = { kind: 'run', verb: 'list', options: { json: true, driver: 'vfs' }, operands: [] }
    expect(parse('list --json --driver vfs')).toEqual(expected)
    expect(parse('--json --driver=vfs list')).toEqual(expected)
  })

  it('takes what follows -- as operands', () => {
    expect(parse('delete --must-exist -- --json -h --')).toEqual({
      kind: 'run',
      verb: 'delete',
      options: { 'must-exist': true },
      operands: ['--json', '-h', '--'],
    })
  })

  it('takes a dash and an argument with spaces as operands', () => {
    expect(parseCommandLine(['create', '-', 'a b'])).toMatchObject({ operands: ['-', 'a b'] })
  })

  it('keeps the last of two values, and can take a flag back', () => {
    expect(parse('list --store a --store b --json --json=false')).toMatchObject({
      options: { store: 'b', json: false },
    })
  })

  it('takes a value that begins with a dash after =', () => {
    expect(parse('list --store=-odd')).toMatchObject({ options: { store: '-odd' } })
  })

  it.each([
    ['--help', null],
    ['-h', null],
    ['create --help', 'create'],
    ['--help create', 'create'],
    ['create one two three --help --nonsense', 'create'],
    ['nonsense --help', null],
  ])('%s asks for help', (line, verb) => {
    expect(parse(line)).toEqual({ kind: 'help', verb, isAsked: true })
  })

  it.each(['', '--json', '--store /s'])('%j says too little', (line) => {
    expect(parse(line)).toEqual({ kind: 'help', verb: null, isAsked: false })
  })

  it('gives a verb of two words, with options before, between and behind', () => {
    expect(parse('--store /s composefs --json objects a.cfs --filter=etc b.cfs')).toEqual({
      kind: 'run',
      verb: 'composefs objects',
      options: { store: '/s', json: true, filter: ['etc'] },
      operands: ['a.cfs', 'b.cfs'],
    })
  })

  it.each([
    ['composefs', false],
    ['composefs --help', true],
    ['composefs nonsense --help', true],
  ])('%s shows the help of the group', (line, isAsked) => {
    expect(parse(line)).toEqual({ kind: 'help', verb: 'composefs', isAsked })
  })

  it('shows the help of one verb of a group', () => {
    expect(parse('composefs mk --help')).toEqual({ kind: 'help', verb: 'composefs mk', isAsked: true })
  })

  it.each(['--version', 'create --version', '--version --nonsense'])('%s asks for the version', (line) => {
    expect(parse(line)).toEqual({ kind: 'version' })
  })

  it.each([
    [
      'craete a b',
      'Cannot run "craete": there is no such verb, did you mean "create"? Else see groot --help',
    ],
    ['help', 'Cannot run "help": there is no such verb, did you mean "--help"? Else see groot --help'],
    ['frobnicate', 'Cannot run "frobnicate": there is no such verb; see groot --help'],
    ['__proto__', 'Cannot run "__proto__": there is no such verb; see groot --help'],
    ['\x1b[2J', 'Cannot run "\\x1b[2J": there is no such verb; see groot --help'],
    [
      'list --jsno',
      'Cannot use the option "--jsno": list has no such option, did you mean "--json"? Else see groot list --help',
    ],
    ['list --force', 'Cannot use the option "--force": list has no such option; see groot list --help'],
    [
      '--stor /x list',
      'Cannot use the option "--stor": groot has no such option, did you mean "--store"? Else see groot --help',
    ],
    ['list -j', 'Cannot use the option "-j": list has no such option; see groot list --help'],
    [
      'list -json',
      'Cannot use the option "-json": list has no such option, did you mean "--json"? Else see groot list --help',
    ],
    [
      'list --constructor',
      'Cannot use the option "--constructor": list has no such option; see groot list --help',
    ],
    ['list --no-json', 'Cannot use the option "--no-json": list has no such option; see groot list --help'],
    [
      'composefs lss x',
      'Cannot run "composefs lss": there is no such verb, did you mean "ls"? Else see groot composefs --help',
    ],
    [
      'composfs mk',
      'Cannot run "composfs": there is no such verb, did you mean "composefs"? Else see groot --help',
    ],
    ['mk x', 'Cannot run "mk": there is no such verb; see groot --help'],
    [
      'composefs ls --basedir x y',
      'Cannot use the option "--basedir": composefs ls has no such option; see groot composefs ls --help',
    ],
    [
      'composefs mk',
      'Cannot run composefs mk: it takes SOURCE and IMAGE, not 0 arguments; use: groot composefs mk [options] SOURCE [IMAGE]',
    ],
    ['composefs mk --threads 0 d', 'Cannot use "0" for --threads: it needs a number from 1 to 1024'],
    ['composefs mk --min-version 2 d', 'Cannot use "2" for --min-version: it needs one of 0, 1'],
    [
      'create one',
      'Cannot run create: it takes IMAGE and ID, not 1 argument; use: groot create [options] IMAGE ID',
    ],
    ['list one', 'Cannot run list: it takes no arguments, not 1 argument; use: groot list [options]'],
    ['delete', 'Cannot run delete: it takes ID, not 0 arguments; use: groot delete [options] ID…'],
    ['list --store', 'Cannot use "" for --store: it needs DIR'],
    ['list --store --json', 'Cannot use "" for --store: it needs DIR'],
    ['list --store=', 'Cannot use "" for --store: it needs DIR'],
    ['list --json=yes', 'Cannot use "yes" for --json: it takes no value'],
    ['list --log-level loud', 'Cannot use "loud" for --log-level: it needs one of error, warn, info, debug'],
  ])('%s is refused', (line, message) => {
    expect(() => parse(line)).toThrow(expect.objectContaining({ kind: 'usage', message }))
  })

  it('says how its log shall be, also when the rest is wrong', () => {
    expect(logChoicesOf(['bogus', '--nonsense', '--log-format', 'json', '--log-level=debug'])).toEqual({
      level: 'debug',
      format: 'json',
    })
    expect(logChoicesOf(['--log-format', 'yaml', '--', '--log-level', 'debug'])).toEqual({
      level: undefined,
      format: undefined,
    })
  })
})

describe('the fast parser and yargs', () => {
  it('agree on every valid command line', async () => {
    await fc.assert(
      fc.asyncProperty(validLine, async (argv) => {
        expect(fast(argv)).toEqual(await reference(argv))
      }),
      { numRuns: 100 },
    )
  })

  it('agree that these are wrong', async () => {
    for (const line of ['list --nonsense', 'list --force', 'list --log-level loud']) {
      expect(() => fast(line.split(' ')), line).toThrow()
      await expect(reference(line.split(' ')), line).rejects.toThrow()
    }
  })
})

function fast(argv: readonly string[]) {
  const parsed = parseCommandLine(argv)
  if (parsed.kind !== 'run') throw new Error('not a run')
  return { verb: parsed.verb, operands: parsed.operands, options: parsed.options }
}

async function reference(argv: readonly string[]) {
  const parsed = (await referenceParser(argv).parseAsync()) as Record<string, unknown> & { _: string[] }
  const words = parsed._
  const verb = isGroup(words[0]!) ? words.slice(0, 2).join(' ') : words[0]!
  const operands = words.slice(verb.split(' ').length)
  const given = Object.keys(OPTIONS).filter((name) => parsed[name] !== undefined)
  return {
    verb,
    operands,
    options: Object.fromEntries(given.map((name) => [name, parsed[name]])),
  }
}

/** A word that no parser can take for an option, a flag's value or nothing. */
const word = fc
  .stringMatching(/^[A-Za-z0-9äß漢 .:/@_=][A-Za-z0-9äß漢 .:/@_=-]{0,12}$/)
  .filter((text) => !/^(true|false)$/.test(text))

function valueText(name: OptionName): fc.Arbitrary<string> {
  const spec = optionSpec(name)
  if (spec.choices !== undefined) return fc.constantFrom(...spec.choices)
  if (spec.type === 'duration') return fc.constantFrom('5', '1.5', '90s', '2m', '500ms')
  if (spec.type === 'bytes') return fc.constantFrom('0', '512', '3KiB', '20GiB')
  if (spec.type === 'age') return fc.constantFrom('30', '12h', '4w')
  if (spec.type === 'count') return fc.constantFrom('1', '8', '1024')
  return word
}

function optionWords(name: OptionName): fc.Arbitrary<string[]> {
  if (optionSpec(name).type === 'flag') return fc.constant([`--${name}`])
  return fc
    .tuple(valueText(name), fc.boolean())
    .map(([value, inline]) => (inline ? [`--${name}=${value}`] : [`--${name}`, value]))
}

/**
 * Options anywhere, some of them twice; operands in order. A verb's own options stand behind it, because yargs does not know
 * before the verb which of them take a value; the fast parser does.
 */
const validLine = fc.constantFrom(...(Object.keys(VERBS) as VerbName[])).chain((verb) => {
  const spec = verbSpec(verb)
  const names = [...GLOBAL_OPTIONS, ...spec.options].filter((name) => name !== 'help' && name !== 'version')
  const operands = fc.array(word, {
    minLength: spec.arguments.length,
    maxLength: spec.repeats ? spec.arguments.length + 3 : spec.arguments.length,
  })
  const options = fc.array(fc.constantFrom(...names).chain(optionWords), { maxLength: 6 })
  return fc.tuple(operands, options, fc.infiniteStream(fc.nat(8))).map(([given, extras, places]) => {
    const words = verb.split(' ')
    const parts = [...words.map((each) => [each]), ...given.map((operand) => [operand])]
    for (const extra of extras) {
      const isOwn = spec.options.some((name) => extra[0]!.split('=')[0] === `--${name}`)
      const first = isOwn ? parts.findIndex(([part]) => part === words.at(-1)) + 1 : 0
      parts.splice(first + (places.next().value % (parts.length + 1 - first)), 0, extra)
    }
    return parts.flat()
  })
})
