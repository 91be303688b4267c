/**
 * Checks: what is run inside a machine. A group is a list of them by name, and they run in its order.
 *
 * The host imports the groups too, for the names; so a module of a group does nothing until a check of it is run.
 */

export interface Guest {
  /** Where the disk of the case is mounted. */
  readonly data: string
  /** Where the second disk is mounted, if the case has one. */
  readonly other: string
  /** Type of the filesystem at `data`, as the kernel names it. */
  readonly filesystem: string
}

/** Throws when what it looks at is not so. */
export type Check = (guest: Guest) => void | Promise<void>
export type Checks = Readonly<Record<string, Check>>
