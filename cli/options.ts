/**
 * The option table: every verb and option of the command, once.
 *
 * The parser (parse.ts) and the help (help.ts) are driven from here. An option means the same in every
 * verb that takes it. Nothing here parses, prints or runs anything.
 */

export interface OptionSpec {
  /** `texts` may be given several times; `duration` becomes milliseconds, `bytes` a number. */
  readonly type: 'flag' | 'text' | 'texts' | 'choice' | 'duration' | 'bytes'
  /** What stands for the value in help: `DIR`. */
  readonly value?: string
  readonly choices?: readonly string[]
  /** One letter, as `-h`. */
  readonly alias?: string
  readonly about: string
}

export const OPTIONS = {
  store: {
    type: 'text',
    value: 'DIR',
    about:
      'The store. Default: GROOT_STORE, else /var/lib/groot for root, else groot in XDG_DATA_HOME or ~/.local/share',
  },
  driver: {
    type: 'text',
    value: 'NAME',
    about: 'The storage driver. Default: GROOT_DRIVER, else what the store was made with',
  },
  'log-level': {
    type: 'choice',
    value: 'LEVEL',
    choices: ['error', 'warn', 'info', 'debug'],
    about: 'How much to tell on stderr. Default: info on a terminal, else warn',
  },
  'log-format': {
    type: 'choice',
    value: 'FORMAT',
    choices: ['text', 'json'],
    about: 'Lines for people, or one JSON object per line. Default: text',
  },
  help: { type: 'flag', alias: 'h', about: 'Show this help' },
  version: { type: 'flag', about: 'Show the version' },
  json: { type: 'flag', about: 'Answer in JSON' },
  platform: {
    type: 'text',
    value: 'OS/ARCH[/VARIANT]',
    about: 'Which image of an index to take. Default: that of this machine',
  },
  'read-only': { type: 'flag', about: 'Let the container not write to its root filesystem' },
  'ignore-ownership': {
    type: 'flag',
    about: 'Without root: make all files the own ones, leave out devices and privileged attributes',
  },
  'insecure-registry': {
    type: 'texts',
    value: 'HOST[:PORT]',
    about: 'A registry that may be talked to over http (repeatable)',
  },
  username: {
    type: 'text',
    value: 'NAME',
    about: 'Log in to the registry; the password is read with --password-stdin',
  },
  'password-stdin': { type: 'flag', about: 'Read the password from standard input, all of it' },
  'max-file-bytes': { type: 'bytes', value: 'SIZE', about: 'Refuse images with a bigger file, as 512MiB' },
  'max-total-bytes': { type: 'bytes', value: 'SIZE', about: 'Refuse images whose files hold more, as 20GiB' },
  'lock-timeout': {
    type: 'duration',
    value: 'TIME',
    about: 'How long to wait for others, as 500ms, 90s, 2m; a bare number is seconds. Default: 60s',
  },
  'must-exist': { type: 'flag', about: 'Fail when there is no such bundle' },
  force: { type: 'flag', about: 'Also when there are bundles: delete them' },
} as const satisfies Record<string, OptionSpec>

export type OptionName = keyof typeof OPTIONS

/** Accepted by every verb, before and after its name. */
export const GLOBAL_OPTIONS = [
  'store',
  'driver',
  'log-level',
  'log-format',
  'help',
  'version',
] as const satisfies OptionName[]

export interface VerbSpec {
  readonly about: string
  /** Names of the arguments, in order. */
  readonly arguments: readonly string[]
  /** Whether the last argument may be given several times. */
  readonly repeats?: true
  readonly options: readonly OptionName[]
  /** Command line and what it does. */
  readonly examples: readonly (readonly [string, string])[]
}

export const VERBS = {
  create: {
    about: 'Make a bundle from an image; print its path',
    arguments: ['IMAGE', 'ID'],
    options: [
      'json',
      'platform',
      'read-only',
      'ignore-ownership',
      'insecure-registry',
      'username',
      'password-stdin',
      'max-file-bytes',
      'max-total-bytes',
      'lock-timeout',
    ],
    examples: [
      ['groot create docker:///debian:12 web-1', 'from Docker Hub'],
      ['groot create docker://registry.example:5000/team/app@sha256:… app', 'by digest'],
      ['groot create oci:images:node web-2', 'the tag "node" of an OCI layout'],
      ['runc run -b "$(groot create rootfs.tar.gz one)" one', 'from a plain archive, and run it'],
    ],
  },
  delete: {
    about: 'Delete bundles; those that are not there are no error',
    arguments: ['ID'],
    repeats: true,
    options: ['must-exist', 'lock-timeout'],
    examples: [
      ['groot delete web-1', 'delete one'],
      ['groot delete --must-exist web-1 web-2', 'delete two, fail when one is missing'],
    ],
  },
  list: {
    about: 'List the bundles, one id per line',
    arguments: [],
    options: ['json'],
    examples: [["groot list --json | jq -r '.[].bundle'", 'the paths of all bundles']],
  },
  stats: {
    about: 'Print how much disk a bundle uses, as JSON',
    arguments: ['ID'],
    options: ['json'],
    examples: [['groot stats web-1', '{"disk_usage":{"total_bytes_used":…,"exclusive_bytes_used":…}}']],
  },
  check: {
    about: 'Read the whole store and compare every digest; change nothing',
    arguments: [],
    options: ['json', 'lock-timeout'],
    examples: [['groot check || mail -s "groot store" root', 'exit status 16 when something is damaged']],
  },
  'init-store': {
    about: 'Make a store; print its path',
    arguments: [],
    options: ['json'],
    examples: [['groot --store /srv/groot init-store --driver vfs', 'make one with a driver of choice']],
  },
  'delete-store': {
    about: 'Delete the store and all that groot put there',
    arguments: [],
    options: ['force'],
    examples: [['groot --store /srv/groot delete-store --force', 'with all bundles in it']],
  },
} as const satisfies Record<string, VerbSpec>

export type VerbName = keyof typeof VERBS

/** What the parser makes of an option of this description. */
type ValueOf<Spec extends OptionSpec> = Spec['type'] extends 'flag'
  ? boolean
  : Spec['type'] extends 'texts'
    ? readonly string[]
    : Spec['type'] extends 'duration' | 'bytes'
      ? number
      : Spec extends { readonly choices: readonly (infer Choice)[] }
        ? Choice
        : string

/** The options that were given, by name; absent ones are absent. */
export type OptionValues = { readonly [Name in OptionName]?: ValueOf<(typeof OPTIONS)[Name]> }

export function optionSpec(name: OptionName): OptionSpec {
  return OPTIONS[name]
}

export function verbSpec(name: VerbName): VerbSpec {
  return VERBS[name]
}

export function isVerb(name: string): name is VerbName {
  return Object.hasOwn(VERBS, name)
}

/** Whether a verb takes an option, its own or a global one. */
export function takes(verb: VerbName, option: OptionName): boolean {
  return verbSpec(verb).options.includes(option) || (GLOBAL_OPTIONS as readonly OptionName[]).includes(option)
}

/** `create [options] IMAGE ID` */
export function synopsis(verb: VerbName): string {
  const spec = verbSpec(verb)
  const names = spec.arguments.map((name, index) =>
    spec.repeats && index === spec.arguments.length - 1 ? `${name}…` : name,
  )
  return [verb, '[options]', ...names].join(' ')
}
