/**
 * The option table: every verb and option of the command, once.
 *
 * The parser (parse.ts) and the help (help.ts) are driven from here. An option means the same in every
 * verb that takes it. Nothing here parses, prints or runs anything.
 */
import { COMPOSEFS_GROUP, COMPOSEFS_OPTIONS, COMPOSEFS_VERBS } from './composefs-options.js'
import { STORE_OPTIONS, STORE_VERBS } from './store-options.js'

export interface OptionSpec {
  /** `texts` may be given several times; `duration` and `age` become milliseconds, `bytes` a number. */
  readonly type: 'flag' | 'text' | 'texts' | 'choice' | 'duration' | 'age' | 'bytes' | 'count'
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
  quiet: { type: 'flag', about: 'Tell nothing but errors on stderr' },
  help: { type: 'flag', alias: 'h', about: 'Show this help' },
  version: { type: 'flag', about: 'Show the version' },
  json: { type: 'flag', about: 'Answer in JSON' },
  platform: {
    type: 'text',
    value: 'OS/ARCH[/VARIANT]',
    about: 'Which image of an index to take. Default: that of this machine',
  },
  'read-only': { type: 'flag', about: 'Let the container not write to its root filesystem' },
  'without-mount': {
    type: 'flag',
    about: 'Mount nothing: print the mounts as JSON, and put them into config.json for the runtime',
  },
  verity: {
    type: 'choice',
    value: 'MODE',
    choices: ['require', 'try', 'off'],
    about: 'Whether the kernel checks files by fs-verity when they are read. Default: try, where it can',
  },
  'expect-digest': {
    type: 'text',
    value: 'HEX',
    about: 'Fail unless the tree has this digest, as groot digest prints it',
  },
  'with-clean': {
    type: 'flag',
    about:
      'Clean the store first, with --threshold-bytes as groot clean has it; a clean that fails is a warning',
  },
  'no-sync': {
    type: 'flag',
    about: 'Do not wait for the disk: faster, but of no use after a power cut; see docs/durability.md',
  },
  'older-than': { type: 'age', value: 'TIME', about: 'Leave what was used within this time, as 12h or 30d' },
  keep: { type: 'texts', value: 'IMAGE', about: 'An image to leave alone (repeatable)' },
  'dry-run': { type: 'flag', about: 'Change nothing; print what would be done' },
  'max-duration': {
    type: 'duration',
    value: 'TIME',
    about: 'Stop when this time is over, as 10m; the next clean goes on',
  },
  'must-exist': { type: 'flag', about: 'Fail when there is no such bundle' },
  force: {
    type: 'flag',
    about: 'Also when there are bundles: delete-store deletes them, rmi takes names away',
  },
  ...STORE_OPTIONS,
  ...COMPOSEFS_OPTIONS,
} as const satisfies Record<string, OptionSpec>

export type OptionName = keyof typeof OPTIONS

/** Accepted by every verb, before and after its name. */
export const GLOBAL_OPTIONS = [
  'store',
  'driver',
  'log-level',
  'log-format',
  'quiet',
  'help',
  'version',
] as const satisfies OptionName[]

export interface VerbSpec {
  readonly about: string
  /** Names of the arguments, in order. */
  readonly arguments: readonly string[]
  /** Whether the last argument may be given several times. */
  readonly repeats?: true
  /** Whether the last argument may be left out; the verb says when. */
  readonly optional?: true
  readonly options: readonly OptionName[]
  /** Command line and what it does. */
  readonly examples: readonly (readonly [string, string])[]
}

/** Of verbs that bring an image in. */
const SOURCE_OPTIONS = [
  'insecure-registry',
  'username',
  'password-stdin',
  'authfile',
  'certs-dir',
  'registries-conf',
  'max-file-bytes',
  'max-total-bytes',
] as const satisfies OptionName[]

export const VERBS = {
  create: {
    about: 'Make a bundle from an image; print its path',
    arguments: ['IMAGE', 'ID'],
    options: [
      'json',
      'pull',
      'platform',
      'read-only',
      'without-mount',
      'verity',
      'expect-digest',
      'disk-limit-size-bytes',
      'exclude-image-from-quota',
      'quota-backend',
      'uid-mapping',
      'gid-mapping',
      'unmapped',
      'ignore-ownership',
      ...SOURCE_OPTIONS,
      'with-clean',
      'threshold-bytes',
      'no-sync',
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
  pull: {
    about: 'Bring in an image and make its base, without a bundle; print the digest of its manifest',
    arguments: ['IMAGE'],
    options: [
      'json',
      'pull',
      'platform',
      'uid-mapping',
      'gid-mapping',
      'unmapped',
      ...SOURCE_OPTIONS,
      'no-sync',
      'lock-timeout',
    ],
    examples: [['groot pull docker:///debian:12', 'so that a later create is quick']],
  },
  digest: {
    about: 'Print the fs-verity digest of the tree of an image; needs neither root nor a driver',
    arguments: ['IMAGE'],
    options: ['json', 'pull', 'platform', ...SOURCE_OPTIONS, 'no-sync', 'lock-timeout'],
    examples: [['groot digest docker:///debian:12', 'what --expect-digest of create then demands']],
  },
  mount: {
    about: 'Mount the root filesystems of bundles again, as after a reboot',
    arguments: ['ID'],
    repeats: true,
    optional: true,
    options: ['all', 'lock-timeout'],
    examples: [['groot mount --all', 'for all bundles, at boot']],
  },
  unmount: {
    about: 'Take the mounts of bundles away; what was written stays',
    arguments: ['ID'],
    repeats: true,
    optional: true,
    options: ['all', 'lock-timeout'],
    examples: [['groot unmount web-1', 'until groot mount web-1']],
  },
  login: {
    about: 'Log in at a registry: verify the credentials and keep them where Docker does',
    arguments: ['HOST'],
    options: [
      'json',
      'username',
      'password-stdin',
      'insecure-registry',
      'authfile',
      'certs-dir',
      'registries-conf',
    ],
    examples: [
      ['groot login registry.example', 'asks for user name and password'],
      ['groot login --username ci --password-stdin docker.io < token', 'from a file, at Docker Hub'],
    ],
  },
  logout: {
    about: 'Forget the credentials for a registry',
    arguments: ['HOST'],
    options: ['authfile'],
    examples: [['groot logout registry.example', 'the next pull from there is anonymous']],
  },
  check: {
    about: 'Read the whole store and compare every digest; change nothing unless told to',
    arguments: [],
    options: ['json', 'repair', 'lock-timeout'],
    examples: [['groot check || mail -s "groot store" root', 'exit status 16 when something is damaged']],
  },
  images: {
    about: 'List the images of the store: what they take, alone and together, and who uses them',
    arguments: [],
    options: ['json'],
    examples: [["groot images --json | jq -r '.[] | select(.bundles == 0).digest'", 'what no bundle uses']],
  },
  rmi: {
    about: 'Remove images, by name or digest, with what nothing else needs',
    arguments: ['IMAGE'],
    repeats: true,
    options: ['json', 'force', 'lock-timeout'],
    examples: [
      ['groot rmi docker:///debian:12', 'the name, and the image when it has no other'],
      ['groot rmi --force docker:///debian:12', 'the name, though bundles use the image'],
    ],
  },
  clean: {
    about: 'Remove what no bundle uses, least recently used first, and what killed commands left',
    arguments: [],
    options: ['json', 'threshold-bytes', 'older-than', 'keep', 'dry-run', 'max-duration', 'lock-timeout'],
    examples: [
      ['groot clean --dry-run', 'what a clean would remove'],
      ['groot clean --threshold-bytes 20GiB --keep docker:///debian:12', 'down to 20 GiB, but keep an image'],
      [
        'groot clean --older-than 7d --max-duration 10m',
        'what nobody used for a week, for ten minutes at most',
      ],
    ],
  },
  pin: {
    about: 'Keep an image of the store from being cleaned; print its full name',
    arguments: ['IMAGE'],
    options: ['json', 'lock-timeout'],
    examples: [['groot pin docker:///debian:12', 'what the name means now, and later']],
  },
  unpin: {
    about: 'Let an image be cleaned again when nobody uses it',
    arguments: ['IMAGE'],
    options: ['json', 'lock-timeout'],
    examples: [['groot unpin docker:///debian:12', 'undo the pin']],
  },
  locks: {
    about: 'Show who holds which lock of the store, and since when',
    arguments: [],
    options: ['json'],
    examples: [['groot locks', 'what somebody waits for']],
  },
  ...STORE_VERBS,
  ...COMPOSEFS_VERBS,
} as const satisfies Record<string, VerbSpec>

/** A verb of two words has a group's name as its first. */
export type VerbName = keyof typeof VERBS

/** Verbs that belong together: `groot GROUP VERB`. */
export const GROUPS = { composefs: COMPOSEFS_GROUP } as const

export type GroupName = keyof typeof GROUPS

/** What the parser makes of an option of this description. */
type ValueOf<Spec extends OptionSpec> = Spec['type'] extends 'flag'
  ? boolean
  : Spec['type'] extends 'texts'
    ? readonly string[]
    : Spec['type'] extends 'duration' | 'age' | 'bytes' | 'count'
      ? number
      : Spec extends { readonly choices: readonly (infer Choice)[] }
        ? Choice
        : string

/** The options that were given, by name; absent ones are absent. */
export type OptionValues = { readonly [Name in OptionName]?: ValueOf<(typeof OPTIONS)[Name]> }
