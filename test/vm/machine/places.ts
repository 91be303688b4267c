/**
 * Where things are in a machine.
 */

/** The root is read-only, so these directories are there from the beginning. */
export const MOUNT_POINTS = ['/data', '/other'] as const
export type MountPoint = (typeof MOUNT_POINTS)[number]

/** An OCI layout with the images of the checks. */
export const IMAGES = '/images'

export const GUEST_PROGRAM = '/groot/dist/test/vm/guest/main.js'
