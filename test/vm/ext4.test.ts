/**
 * groot on ext4 with fs-verity, and beside it on ext4 without; then a second machine with the same disks, as after a
 * reboot.
 */
import { describeMachines } from './suite.js'

describeMachines('machines with ext4', {
  disks: [
    { kind: 'ext4', at: '/data', size: 256 },
    { kind: 'ext4-plain', at: '/other', size: 256 },
  ],
  boots: [
    ['kernel', 'verity', 'overlay', 'altered', 'tree', 'without-verity', 'before-reboot'],
    ['after-reboot'],
  ],
})
