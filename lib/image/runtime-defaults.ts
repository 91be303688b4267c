/**
 * What `runc spec` (1.1) writes, as values: the part of config.json that no image decides.
 *
 * Every call makes fresh objects, so a caller may change what it gets. What the image decides is in runtime-spec.ts.
 */

import { hostIdOf, type IdMapping, type IdRange } from '../ids/mapping.js'

/** A mount as the runtime-spec writes it (config.md, "Mounts"). */
export interface SpecMount {
  readonly destination: string
  readonly type: string
  readonly source: string
  readonly options?: readonly string[]
}

/** Ids of the user who will run the container without root: the one id that its user namespace has. */
export interface RootlessIds {
  readonly uid: number
  readonly gid: number
}

/** The runtime-spec that the document follows; every runtime in use reads it. */
export const OCI_VERSION = '1.0.2'

/** Where programs are looked for when the image does not say: runc resolves the first argument with it. */
export const DEFAULT_PATH = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

/** What runs when the image has neither entrypoint nor command. */
export const DEFAULT_ARGS: readonly string[] = ['sh']

const CAPABILITIES: readonly string[] = ['CAP_AUDIT_WRITE', 'CAP_KILL', 'CAP_NET_BIND_SERVICE']

export function defaultCapabilities() {
  return {
    bounding: [...CAPABILITIES],
    effective: [...CAPABILITIES],
    permitted: [...CAPABILITIES],
    ambient: [...CAPABILITIES],
  }
}

export function defaultRlimits() {
  return [{ type: 'RLIMIT_NOFILE', hard: 1024, soft: 1024 }]
}

const TTY_GROUP = 5

/** The kernel's filesystems, in the order in which they are mounted. */
export function defaultMounts(isRootless: boolean, mapping: IdMapping | null = null): SpecMount[] {
  const quiet = ['nosuid', 'noexec', 'nodev']
  // Group 5 (tty) has no id in a namespace with a single one, or another that lacks it, and sysfs belongs to the network namespace, which is the
  // host's there: it can only be bound.
  const hasTty = !isRootless && (mapping === null || hostIdOf(mapping.gid, TTY_GROUP) !== null)
  const tty = hasTty ? [`gid=${TTY_GROUP}`] : []
  const sys = isRootless
    ? { destination: '/sys', type: 'none', source: '/sys', options: ['rbind', ...quiet, 'ro'] }
    : { destination: '/sys', type: 'sysfs', source: 'sysfs', options: [...quiet, 'ro'] }
  return [
    { destination: '/proc', type: 'proc', source: 'proc' },
    {
      destination: '/dev',
      type: 'tmpfs',
      source: 'tmpfs',
      options: ['nosuid', 'strictatime', 'mode=755', 'size=65536k'],
    },
    {
      destination: '/dev/pts',
      type: 'devpts',
      source: 'devpts',
      options: ['nosuid', 'noexec', 'newinstance', 'ptmxmode=0666', 'mode=0620', ...tty],
    },
    {
      destination: '/dev/shm',
      type: 'tmpfs',
      source: 'shm',
      options: [...quiet, 'mode=1777', 'size=65536k'],
    },
    { destination: '/dev/mqueue', type: 'mqueue', source: 'mqueue', options: [...quiet] },
    sys,
    {
      destination: '/sys/fs/cgroup',
      type: 'cgroup',
      source: 'cgroup',
      options: [...quiet, 'relatime', 'ro'],
    },
  ]
}

/**
 * The `linux` part.
 *
 * Without root it is what `runc spec --rootless` makes of it: a user namespace whose only id, 0, is the caller; the
 * host's network; no device rules, which need the right to change cgroups.
 *
 * With a mapping root runs a container whose ids are others on the host: a user namespace is added, and no more is different.
 *
 * @param hasUnifiedCgroups whether the machine has cgroups version 2 only; the container then gets a cgroup namespace
 */
export function defaultLinux(
  rootless: RootlessIds | null,
  hasUnifiedCgroups: boolean,
  mapping: IdMapping | null = null,
) {
  const namespaces = (
    rootless === null ? ['pid', 'network', 'ipc', 'uts', 'mount'] : ['pid', 'ipc', 'uts', 'mount']
  )
    .concat(hasUnifiedCgroups ? ['cgroup'] : [])
    .concat(rootless === null && mapping === null ? [] : ['user'])
    .map((type) => ({ type }))
  const rights =
    rootless === null
      ? { resources: { devices: [{ allow: false, access: 'rwm' }] } }
      : {
          uidMappings: [{ containerID: 0, hostID: rootless.uid, size: 1 }],
          gidMappings: [{ containerID: 0, hostID: rootless.gid, size: 1 }],
        }
  const ids =
    mapping === null
      ? {}
      : { uidMappings: mapping.uid.map(specRange), gidMappings: mapping.gid.map(specRange) }
  return { ...rights, ...ids, namespaces, maskedPaths: [...MASKED_PATHS], readonlyPaths: [...READONLY_PATHS] }
}

/** config-linux.md, "User namespace mappings". */
function specRange({ containerId, hostId, size }: IdRange) {
  return { containerID: containerId, hostID: hostId, size }
}

const MASKED_PATHS = [
  '/proc/acpi',
  '/proc/asound',
  '/proc/kcore',
  '/proc/keys',
  '/proc/latency_stats',
  '/proc/timer_list',
  '/proc/timer_stats',
  '/proc/sched_debug',
  '/sys/firmware',
  '/proc/scsi',
]

const READONLY_PATHS = ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger']
