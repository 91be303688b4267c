/**
 * The part of the option table that is the composefs tools': their options by the names that the C tools have.
 */
import type { OptionSpec } from './options.js'

export const COMPOSEFS_OPTIONS = {
  'digest-store': {
    type: 'text',
    value: 'DIR',
    about: 'Keep a copy of each file of more than 64 bytes in this directory, named by its digest',
  },
  'from-file': { type: 'flag', about: 'SOURCE is text of composefs-dump(5), "-" for standard input' },
  'print-digest': { type: 'flag', about: 'Print the fs-verity digest of the image' },
  'print-digest-only': { type: 'flag', about: 'Print the digest and write no image; without IMAGE' },
  'min-version': {
    type: 'choice',
    value: 'N',
    choices: ['0', '1'],
    about: 'Least version of the format. Default: 0',
  },
  'max-version': {
    type: 'choice',
    value: 'N',
    choices: ['0', '1'],
    about:
      'Greatest version of the format, taken for trees with whiteouts. Default: 1, or 0 with --min-version',
  },
  'use-epoch': { type: 'flag', about: 'Make all times zero' },
  'skip-devices': { type: 'flag', about: 'Leave devices out' },
  'skip-xattrs': { type: 'flag', about: 'Leave extended attributes out' },
  'user-xattrs': { type: 'flag', about: 'Leave all but user.* attributes out' },
  threads: {
    type: 'count',
    value: 'N',
    about: 'How many threads read files. Default: one for each processor, at most 8',
  },
  hash: {
    type: 'choice',
    value: 'NAME',
    choices: ['sha256', 'sha512'],
    about: 'The hash of fs-verity. Default: sha256, which is the only one of the C tools',
  },
  'scan-like': {
    type: 'choice',
    value: 'VERSION',
    choices: ['1.0.8'],
    about: 'Give the digests of this version of mkcomposefs, which makes a file of each hard link',
  },
  basedir: { type: 'text', value: 'DIR', about: 'The directory of objects' },
  filter: {
    type: 'texts',
    value: 'NAME',
    about: 'Only this name of the top directory, and what is in it (repeatable)',
  },
  options: {
    type: 'text',
    value: 'KEY[=VALUE],…',
    alias: 'o',
    about: 'basedir=DIR[:DIR…], upperdir=DIR, workdir=DIR, digest=HEX, verity, ro; a backslash escapes',
  },
  type: {
    type: 'choice',
    value: 'TYPE',
    choices: ['composefs'],
    alias: 't',
    about: 'What mount(8) says; there is only one',
  },
} as const satisfies Record<string, OptionSpec>

export const COMPOSEFS_GROUP = {
  about: 'Make, show and mount composefs images, as mkcomposefs, composefs-info and mount.composefs do',
  examples: [
    ['groot composefs mk --digest-store=objects rootfs image.cfs', 'make an image'],
    ['groot composefs ls image.cfs', 'show what is in it'],
  ],
} as const

export const COMPOSEFS_VERBS = {
  'composefs mk': {
    about: 'Make an image of a directory or a dump, as mkcomposefs does',
    arguments: ['SOURCE', 'IMAGE'],
    optional: true,
    options: [
      'digest-store',
      'from-file',
      'print-digest',
      'print-digest-only',
      'min-version',
      'max-version',
      'use-epoch',
      'skip-devices',
      'skip-xattrs',
      'user-xattrs',
      'threads',
      'hash',
      'scan-like',
      'json',
    ],
    examples: [
      ['groot composefs mk --digest-store=objects rootfs image.cfs', 'image and objects of a directory'],
      ['groot composefs mk --print-digest-only rootfs', 'only its identity'],
      ['groot composefs mk --from-file - - < dump > image.cfs', 'from text, in a pipeline'],
    ],
  },
  'composefs info': {
    about: 'Show what images are and hold',
    arguments: ['IMAGE'],
    repeats: true,
    options: ['hash', 'json'],
    examples: [['groot composefs info image.cfs', 'version, digest, sizes, counts']],
  },
  'composefs ls': {
    about: 'List the entries of images, as composefs-info ls does',
    arguments: ['IMAGE'],
    repeats: true,
    options: ['filter', 'json'],
    examples: [['groot composefs ls --filter=etc image.cfs', 'what is in /etc']],
  },
  'composefs dump': {
    about: 'Print images as text that mk --from-file reads, as composefs-info dump does',
    arguments: ['IMAGE'],
    repeats: true,
    options: ['filter', 'json'],
    examples: [['groot composefs dump image.cfs | grep " @"', 'the hard links']],
  },
  'composefs objects': {
    about: 'List the objects that images need, as composefs-info objects does',
    arguments: ['IMAGE'],
    repeats: true,
    options: ['filter', 'json'],
    examples: [['groot composefs objects *.cfs', 'those of all images, each once']],
  },
  'composefs missing-objects': {
    about: 'List the objects that images need and --basedir has not, as composefs-info missing-objects does',
    arguments: ['IMAGE'],
    repeats: true,
    options: ['basedir', 'filter', 'json'],
    examples: [['groot composefs missing-objects --basedir=objects image.cfs', 'what has to be fetched']],
  },
  'composefs measure': {
    about: 'Print the fs-verity digests of files, as composefs-info measure-file does',
    arguments: ['FILE'],
    repeats: true,
    options: ['hash', 'json'],
    examples: [['groot composefs measure image.cfs', 'what mount -o digest= demands']],
  },
  'composefs mount': {
    about: 'Mount an image, as mount.composefs does',
    arguments: ['IMAGE', 'TARGET'],
    options: ['options', 'type'],
    examples: [
      ['groot composefs mount -o basedir=objects,verity image.cfs /mnt', 'read-only, files checked'],
    ],
  },
} as const
