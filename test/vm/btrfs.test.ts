/**
 * groot on btrfs, where every file can have fs-verity.
 */
import { describeMachines } from './suite.js'

describeMachines('a machine with btrfs', {
  disks: [{ kind: 'btrfs', at: '/data', size: 256 }],
  boots: [['kernel', 'verity', 'overlay', 'altered']],
})
