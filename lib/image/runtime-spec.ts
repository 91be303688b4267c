/**
 * config.json: an image config as a container runtime reads it (image-spec, conversion.md; runtime-spec, config.md).
 *
 * Pure. What the image says decides args, env, cwd, user, volumes and annotations; all else is as `runc spec` writes it
 * (runtime-defaults.ts). Every string of the image is data: nothing is expanded, split or given to a shell.
 *
 * Where this differs from `runc spec`: `terminal` is false, because what starts containers from a program or from cron has
 * no terminal; TERM is left out with it; the hostname is the bundle's id; the root is read-only only when asked for.
 */
import { ImageError } from '../errors.js'
import type { IdMapping } from '../ids/mapping.js'
import { cleanPath } from './clean-path.js'
import type { ImageConfig } from './config.js'
import { quote } from './json.js'
import {
  DEFAULT_ARGS,
  DEFAULT_PATH,
  defaultCapabilities,
  defaultLinux,
  defaultMounts,
  defaultRlimits,
  OCI_VERSION,
  type RootlessIds,
  type SpecMount,
} from './runtime-defaults.js'
import { type ResolvedUser, ROOT_USER } from './users.js'
import { planVolumes } from './volumes.js'

export interface SpecRequest {
  /** Path of the rootfs below the bundle. */
  readonly rootfsPath: string
  readonly readOnly: boolean
  /** What resolveUser made of the image's `Config.User`. */
  readonly user: ResolvedUser
  readonly bundleId: string
  /** Who will run the bundle without root; null for root. */
  readonly rootless: RootlessIds | null
  /** The ids of the container's user namespace; null for none of its own. Default null. */
  readonly mapping?: IdMapping | null
  /** Mounts that make the rootfs (a driver's); they come before all others. */
  readonly mounts?: readonly SpecMount[]
  /** Whether the machine has cgroups version 2 only, where `runc spec` adds a cgroup namespace. Default false. */
  readonly hasUnifiedCgroups?: boolean
}

/**
 * Converts an image config to a runtime-spec document, ready for JSON and made anew by every call.
 *
 * Without root the process is user 0 of a user namespace that has no other id, and that user is the caller: the image's
 * user cannot be kept, as in `runc spec --rootless`. HOME is left to the runtime, which takes it from the image's passwd.
 * Annotations of manifests and indexes are not used (conversion.md, "Annotations").
 *
 * @throws {ImageError} `config-invalid` for NUL in a string that the process or an annotation gets, for volumes and
 *   working directories that cannot be; `limit-exceeded`
 */
export function runtimeSpec(config: ImageConfig, request: SpecRequest) {
  const isRootless = request.rootless !== null
  const mapping = request.mapping ?? null
  const { uid, gid, additionalGids } = isRootless ? ROOT_USER : request.user
  const annotations = annotationsOf(config)
  return {
    ociVersion: OCI_VERSION,
    process: {
      terminal: false,
      user: { uid, gid, ...(additionalGids.length === 0 ? {} : { additionalGids: [...additionalGids] }) },
      args: argsOf(config),
      env: envOf(config),
      cwd: cwdOf(config),
      capabilities: defaultCapabilities(),
      rlimits: defaultRlimits(),
      noNewPrivileges: true,
    },
    root: { path: request.rootfsPath, readonly: request.readOnly },
    hostname: hostnameOf(request.bundleId),
    mounts: [...(request.mounts ?? []), ...defaultMounts(isRootless, mapping), ...volumeMounts(config)],
    linux: defaultLinux(request.rootless, request.hasUnifiedCgroups ?? false, mapping),
    ...(Object.keys(annotations).length === 0 ? {} : { annotations }),
  }
}

/** Directories of the rootfs that a runtime makes when they are missing: where it mounts, and where the process begins. */
export function neededDirectories(config: ImageConfig): string[] {
  const mounted = [...defaultMounts(false), ...volumeMounts(config)].map(({ destination }) => destination)
  const paths = [...new Set([...mounted, cwdOf(config)])].sort()
  // What is below a mount is not in the rootfs; a parent sorts before what is below it.
  const isBelow = (path: string) => mounted.some((mount) => path.startsWith(`${mount}/`))
  return paths.filter((path) => path !== '/' && !isBelow(path))
}

/**
 * Labels of the image that are kept out of the annotations, sorted; to be told to the user (conversion.md, "Annotations").
 *
 * Runtimes act on some annotations: they set properties of a systemd unit, load plug-ins, write files on the host. Who
 * runs a bundle may set those, who made an image may not. An empty name is none (runtime-spec, config.md, "Annotations").
 */
export function withheldLabels(config: ImageConfig): string[] {
  return Object.keys(config.process.labels).filter(isWithheld).sort()
}

const RUNTIME_PREFIXES = [
  'org.systemd.property.', // runc, crun: properties of the container's unit
  'run.oci.', // crun: hooks' output files, seccomp plug-ins, handlers
  'org.criu.', // runc, crun: a configuration file of the host
  'io.kubernetes.cri', // containerd and cri-o talking to runtimes below them
  'io.katacontainers.', // paths of hypervisors and kernels
  'com.github.containers.virtcontainers.',
  'dev.gvisor.', // flags of runsc, mounts
]

function isWithheld(label: string): boolean {
  return label === '' || RUNTIME_PREFIXES.some((prefix) => label.startsWith(prefix))
}

// Labels win over what follows from other fields. Made from pairs, because `__proto__` is a name like any other here.
function annotationsOf(config: ImageConfig): Record<string, string> {
  const { labels, stopSignal, exposedPorts } = config.process
  const implicit: [string, string | undefined][] = [
    ['os', config.os],
    ['architecture', config.architecture],
    ['variant', config.variant],
    ['os.version', config.osVersion],
    ['os.features', config.osFeatures?.join(',')],
    ['author', config.author],
    ['created', config.created],
    ['stopSignal', stopSignal],
    ['exposedPorts', [...exposedPorts].sort().join(',')],
  ]
  const pairs = [
    ...implicit.map(([name, value]): [string, string] => [`org.opencontainers.image.${name}`, value ?? '']),
    ...Object.entries(labels).filter(([label]) => !isWithheld(label)),
  ]
  // An implicit value that the config leaves empty says nothing; a label that is empty was set so.
  const kept = pairs.filter(([name, value]) => value !== '' || Object.hasOwn(labels, name))
  for (const [name, value] of kept) {
    checkText(name, '$.config.Labels')
    checkText(value, `the value of annotation ${quote(name)}`)
  }
  return Object.fromEntries(kept)
}

function argsOf(config: ImageConfig): string[] {
  const args = [...config.process.entrypoint, ...config.process.cmd]
  for (const arg of args) checkText(arg, '$.config.Entrypoint or $.config.Cmd')
  return args.length > 0 ? args : [...DEFAULT_ARGS]
}

// An entry without a name or without "=" sets no variable; runc refuses to start a process with one, Docker drops it.
function envOf(config: ImageConfig): string[] {
  const env = config.process.env.filter((entry) => entry.indexOf('=') > 0)
  for (const entry of env) checkText(entry, '$.config.Env')
  return env.some((entry) => entry.startsWith('PATH=')) ? env : [DEFAULT_PATH, ...env]
}

function cwdOf(config: ImageConfig): string {
  const cwd = config.process.workingDir ?? '/'
  checkText(cwd, '$.config.WorkingDir')
  // runc takes absolute ones only, and a container starts at its root.
  return cleanPath(cwd, '$.config.WorkingDir')
}

function volumeMounts(config: ImageConfig): SpecMount[] {
  return planVolumes(config).map(({ destination, directory }) => ({
    destination,
    type: 'bind',
    source: directory, // relative to the bundle (runtime-spec, config.md, "Mounts"), so that a bundle can be moved
    options: ['rbind', 'rw', 'nosuid', 'nodev'],
  }))
}

/** One label of a host name (RFC 1123): at most 63 letters, digits and inner dashes. */
function hostnameOf(bundleId: string): string {
  const label = bundleId.replace(/[^A-Za-z0-9-]/g, '-').slice(0, 63)
  return label.replace(/^-+/, '').replace(/-{1,63}$/, '') || 'groot'
}

// execve(2) and every runtime written in C end a string at NUL: what is checked here has to be what is used there.
function checkText(text: string, where: string): void {
  if (!text.includes('\0')) return
  throw new ImageError(
    'config-invalid',
    `Cannot convert the image config: ${where} holds NUL in ${quote(text)}`,
    {
      facts: { document: 'config', field: where, found: quote(text) },
    },
  )
}
