/**
 * The numbers and layouts of btrfs-constants.ts: against the kernel's headers, where they are.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, writeFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import * as numbers from '../../../lib/linux/btrfs-constants.js'
import { useScratch } from './scratch.js'

const HEADERS = ['btrfs.h', 'btrfs_tree.h', 'fiemap.h'].map((name) => `/usr/include/linux/${name}`)
const hasHeaders = spawnSync('cc', ['--version']).status === 0 && HEADERS.every((path) => existsSync(path))
const scratch = useScratch()

/** Those that older headers do not have are not asked for. */
const NEWER = ['QUOTA_CTL_ENABLE_SIMPLE', 'QGROUP_STATUS_FLAG_SIMPLE']

const STRUCTURES: Record<string, readonly [type: string, fields: Record<string, string>]> = {
  VOL_ARGS: ['struct btrfs_ioctl_vol_args', { fd: 'fd', name: 'name' }],
  VOL_ARGS_V2: [
    'struct btrfs_ioctl_vol_args_v2',
    { fd: 'fd', flags: 'flags', inheritSize: 'size', inherit: 'qgroup_inherit', name: 'name' },
  ],
  QGROUP_INHERIT: ['struct btrfs_qgroup_inherit', { groups: 'num_qgroups' }],
  QGROUP_LIMIT: [
    'struct btrfs_qgroup_limit',
    { flags: 'flags', referenced: 'max_rfer', exclusive: 'max_excl' },
  ],
  QGROUP_LIMIT_ARGS: ['struct btrfs_ioctl_qgroup_limit_args', { group: 'qgroupid', limit: 'lim' }],
  QGROUP_INFO: ['struct btrfs_qgroup_info_item', { referenced: 'rfer', exclusive: 'excl' }],
  SEARCH_ARGS: [
    'struct btrfs_ioctl_search_args_v2',
    {
      tree: 'key.tree_id',
      minObject: 'key.min_objectid',
      maxObject: 'key.max_objectid',
      minOffset: 'key.min_offset',
      maxOffset: 'key.max_offset',
      minTransaction: 'key.min_transid',
      maxTransaction: 'key.max_transid',
      minType: 'key.min_type',
      maxType: 'key.max_type',
      items: 'key.nr_items',
      bufferSize: 'buf_size',
    },
  ],
  SEARCH_HEADER: [
    'struct btrfs_ioctl_search_header',
    { object: 'objectid', offset: 'offset', type: 'type', length: 'len' },
  ],
  INO_LOOKUP: ['struct btrfs_ioctl_ino_lookup_args', { tree: 'treeid', object: 'objectid' }],
  SUBVOL_INFO: ['struct btrfs_ioctl_get_subvol_info_args', { id: 'treeid', createdAt: 'otransid' }],
  FS_INFO: ['struct btrfs_ioctl_fs_info_args', { nodeSize: 'nodesize' }],
  FIEMAP: [
    'struct fiemap',
    {
      start: 'fm_start',
      length: 'fm_length',
      flags: 'fm_flags',
      mapped: 'fm_mapped_extents',
      count: 'fm_extent_count',
    },
  ],
  FIEMAP_EXTENT: ['struct fiemap_extent', { logical: 'fe_logical', length: 'fe_length', flags: 'fe_flags' }],
}

describe('layouts of btrfs', () => {
  it.skipIf(!hasHeaders)('agree with the headers of this machine (needs cc and linux headers)', () => {
    const [expected, expressions]: [Record<string, number>, Record<string, string>] = [{}, {}]
    const all = new Map<string, unknown>(Object.entries(numbers))
    for (const [name, value] of all) {
      if (typeof value !== 'number' || NEWER.includes(name)) continue
      expected[name] = value
      expressions[name] = name === 'BTRFS_SUPER_MAGIC' ? '0x9123683e' : name
    }
    for (const [name, [type, fields]] of Object.entries(STRUCTURES)) {
      const ours = all.get(name) as Record<string, number>
      expected[`${name}.size`] = ours.size!
      expressions[`${name}.size`] = `sizeof(${type})`
      for (const [field, member] of Object.entries(fields)) {
        expected[`${name}.${field}`] = ours[field]!
        expressions[`${name}.${field}`] = `offsetof(${type}, ${member})`
      }
    }
    expect(compile(expressions)).toEqual(expected)
  })
})

function compile(expressions: Record<string, string>): Record<string, number> {
  const lines = Object.entries(expressions).map(
    ([name, expression]) => `printf("%s %llu\\n", "${name}", (unsigned long long)(${expression}));`,
  )
  const source = [
    '#include <stdio.h>',
    '#include <stddef.h>',
    '#include <sys/ioctl.h>',
    '#include <linux/fs.h>',
    ...HEADERS.map((path) => `#include "${path}"`),
    `int main(void) { ${lines.join('\n')} return 0; }`,
  ]
  writeFileSync(`${scratch.path}/layout.c`, source.join('\n'))
  execFileSync('cc', ['-w', '-o', `${scratch.path}/layout`, `${scratch.path}/layout.c`])
  const text = execFileSync(`${scratch.path}/layout`, { encoding: 'utf8' })
  return Object.fromEntries(
    text
      .trim()
      .split('\n')
      .map((line) => line.split(' '))
      .map(([name, value]) => [name!, Number(value)]),
  )
}
