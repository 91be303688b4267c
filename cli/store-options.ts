/**
 * The part of the option table that says how stores and bundles are kept: on which disk, for whom, and how much of it.
 */
import type { OptionSpec } from './options.js'

export const STORE_OPTIONS = {
  'disk-limit-size-bytes': {
    type: 'bytes',
    value: 'SIZE',
    about: 'What the root filesystem may take at most, its image included, as 2GiB',
  },
  'exclude-image-from-quota': {
    type: 'flag',
    about: 'Count only what the container writes for --disk-limit-size-bytes',
  },
  'quota-backend': {
    type: 'choice',
    value: 'BACKEND',
    choices: ['native', 'loop'],
    about: 'Who holds the limit: the quotas of the store itself, or a filesystem in a file. Default: native',
  },
  repair: { type: 'flag', about: 'Bring back what is damaged, from where the images came' },
  pull: {
    type: 'choice',
    value: 'WHEN',
    choices: ['missing', 'always', 'never'],
    about:
      'When to ask a registry. Default: missing, for tags each time, for digests that are not in the store',
  },
  all: { type: 'flag', about: 'All bundles of the store' },
  'uid-mapping': {
    type: 'texts',
    value: 'CONTAINER:HOST:SIZE',
    about: 'Map user ids of the container, from CONTAINER on, to those of the host (repeatable)',
  },
  'gid-mapping': {
    type: 'texts',
    value: 'CONTAINER:HOST:SIZE',
    about: 'The same for group ids; both are given, or none (repeatable)',
  },
  unmapped: {
    type: 'choice',
    value: 'WHAT',
    choices: ['refuse', 'squash'],
    about: 'What to do with owners that the mapping lacks: refuse, or give to 65534. Default: refuse',
  },
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
  authfile: {
    type: 'text',
    value: 'FILE',
    about: 'Where credentials are. Default: REGISTRY_AUTH_FILE, else the files of podman and Docker',
  },
  'certs-dir': {
    type: 'text',
    value: 'DIR',
    about:
      'Registry hosts as containerd has them, DIR/HOST/hosts.toml. Default: GROOT_CERTS_D, else /etc/containerd/certs.d',
  },
  'registries-conf': {
    type: 'text',
    value: 'FILE',
    about:
      'Mirrors and the like as podman has them. Default: CONTAINERS_REGISTRIES_CONF, else /etc/containers/registries.conf',
  },
  'max-file-bytes': { type: 'bytes', value: 'SIZE', about: 'Refuse images with a bigger file, as 512MiB' },
  'max-total-bytes': { type: 'bytes', value: 'SIZE', about: 'Refuse images whose files hold more, as 20GiB' },
  'lock-timeout': {
    type: 'duration',
    value: 'TIME',
    about: 'How long to wait for others, as 500ms, 90s, 2m; a bare number is seconds. Default: 60s',
  },
  'threshold-bytes': {
    type: 'bytes',
    value: 'SIZE',
    about: 'Do nothing while the store takes no more than this, as 20GiB; else remove until it does not',
  },
  filesystem: {
    type: 'choice',
    value: 'TYPE',
    choices: ['btrfs', 'ext4', 'xfs'],
    about: 'Make the store on a filesystem of its own, unless it would be on one of this type already',
  },
  'store-size-bytes': { type: 'bytes', value: 'SIZE', about: 'How large that filesystem is, as 20GiB' },
  'backing-file': { type: 'text', value: 'FILE', about: 'The file that holds it, which must not exist' },
} as const satisfies Record<string, OptionSpec>

export const STORE_VERBS = {
  limit: {
    about: 'Change the disk limit of a bundle that was made with one, also while it runs',
    arguments: ['ID', 'SIZE'],
    options: ['json', 'lock-timeout'],
    examples: [['groot limit web-1 4GiB', 'counted as create counted it']],
  },
  'init-store': {
    about: 'Make a store; print its path',
    arguments: [],
    options: [
      'json',
      'verity',
      'filesystem',
      'store-size-bytes',
      'backing-file',
      'no-sync',
      'uid-mapping',
      'gid-mapping',
      'unmapped',
    ],
    examples: [
      ['groot --store /srv/groot init-store --driver vfs', 'make one with a driver of choice'],
      [
        'groot init-store --uid-mapping 0:100000:65536 --gid-mapping 0:100000:65536',
        'for containers that are not root of the machine',
      ],
      [
        'groot init-store --driver btrfs --store-size-bytes 20GiB --backing-file /var/lib/groot.img',
        'on btrfs, in a file',
      ],
    ],
  },
  'delete-store': {
    about: 'Delete the store and all that groot put there',
    arguments: [],
    options: ['force'],
    examples: [['groot --store /srv/groot delete-store --force', 'with all bundles in it']],
  },
} as const
