/**
 * Image configs (image-spec, config.md; Docker's form has the same fields).
 *
 * What the runtime makes of them is in runtime-spec.ts; the history is not read, because nothing depends on it.
 */
import type { DiffId } from '../digest.js'
import {
  type DocumentKind,
  type Field,
  field,
  keys,
  list,
  optionalObject,
  optionalString,
  parseDocumentJson,
  refuse,
  requireDigest,
  requireObject,
  requireString,
  stringList,
  stringMap,
} from './json.js'
import { MAX_LAYERS } from './manifest.js'

export interface ImageProcess {
  readonly user?: string
  /** `NAME=value`. */
  readonly env: readonly string[]
  readonly entrypoint: readonly string[]
  readonly cmd: readonly string[]
  readonly workingDir?: string
  readonly stopSignal?: string
  /** `port`, `port/tcp` or `port/udp`. */
  readonly exposedPorts: readonly string[]
  readonly volumes: readonly string[]
  readonly labels: Readonly<Record<string, string>>
}

export interface ImageConfig {
  readonly os: string
  readonly architecture: string
  readonly variant?: string
  readonly osVersion?: string
  /** Absent when there are none. */
  readonly osFeatures?: readonly string[]
  readonly created?: string
  readonly author?: string
  /** Base first. */
  readonly diffIds: readonly DiffId[]
  readonly process: ImageProcess
}

const CONFIG: DocumentKind = { name: 'config', code: 'config-invalid' }

/** @throws {ImageError} `config-invalid` naming the field, `limit-exceeded` */
export function parseConfig(bytes: Uint8Array): ImageConfig {
  const root = parseDocumentJson(bytes, CONFIG)
  const variant = optionalString(field(root, 'variant'))
  const osVersion = optionalString(field(root, 'os.version'))
  const osFeatures = stringList(field(root, 'os.features'))
  const created = optionalString(field(root, 'created'))
  const author = optionalString(field(root, 'author'))
  return {
    os: requireWord(field(root, 'os'), 'the name of an operating system'),
    architecture: requireWord(field(root, 'architecture'), 'the name of an architecture'),
    ...(variant === undefined ? {} : { variant }),
    ...(osVersion === undefined ? {} : { osVersion }),
    ...(osFeatures.length === 0 ? {} : { osFeatures }),
    ...(created === undefined ? {} : { created }),
    ...(author === undefined ? {} : { author }),
    diffIds: readDiffIds(field(root, 'rootfs')),
    process: readProcess(field(root, 'config')),
  }
}

function requireWord(of: Field, wanted: string): string {
  return optionalString(of) ?? refuse(of, wanted)
}

function readDiffIds(rootfs: Field): DiffId[] {
  const type = field(requireObject(rootfs), 'type')
  if (type.value !== 'layers') refuse(type, '"layers"')
  const ids = list(field(rootfs, 'diff_ids'), MAX_LAYERS)
  return ids.map((id) => requireDigest(id) as DiffId) // a digest at this place is a diff id by definition
}

function readProcess(config: Field): ImageProcess {
  optionalObject(config)
  const user = optionalArgument(field(config, 'User'))
  const workingDir = optionalArgument(field(config, 'WorkingDir'))
  const volumes = field(config, 'Volumes')
  const stopSignal = optionalArgument(field(config, 'StopSignal'))
  return {
    ...(user === undefined ? {} : { user }),
    env: argumentList(field(config, 'Env')),
    entrypoint: argumentList(field(config, 'Entrypoint')),
    cmd: argumentList(field(config, 'Cmd')),
    ...(workingDir === undefined ? {} : { workingDir }),
    ...(stopSignal === undefined ? {} : { stopSignal }),
    exposedPorts: keys(field(config, 'ExposedPorts')),
    volumes: keys(volumes).map((volume) => withoutNul(volumes, volume)),
    labels: stringMap(field(config, 'Labels')),
  }
}

function optionalArgument(of: Field): string | undefined {
  const text = optionalString(of)
  return text === undefined ? undefined : withoutNul(of, text)
}

function argumentList(of: Field): string[] {
  return list(of).map((item) => withoutNul(item, requireString(item)))
}

// What goes to execve or names a path cannot hold a NUL; the kernel would cut it there.
function withoutNul(of: Field, text: string): string {
  if (text.includes('\0')) refuse({ ...of, value: text }, 'text without NUL')
  return text
}
