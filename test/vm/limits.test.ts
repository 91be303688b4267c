/**
 * Disk limits where the filesystem of the store holds them: ext4 and XFS with project quotas, and a second machine with the
 * same disks, as after a reboot; and ext4 without.
 */
import { describeMachines } from './suite.js'

describeMachines('machines with project quotas', {
  disks: [
    { kind: 'ext4', at: '/data', size: 256 },
    { kind: 'xfs', at: '/other', size: 320 },
  ],
  boots: [['limits'], ['limits-after-reboot']],
})

describeMachines('a machine without quotas', {
  disks: [{ kind: 'ext4-plain', at: '/data', size: 128 }],
  boots: [['limits-refused']],
})
