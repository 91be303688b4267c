/**
 * Project ids, given to bundles for as long as their limits live.
 *
 * A store takes its ids from a range of 65,536 of its own, chosen at random among 16,384 such ranges between 2^30 and 2^31, far from
 * the small numbers that people and other programs use. An id is taken by a symlink of its number to the bundle's id, which
 * only one process can make; so no lock is needed, and what a killed process took is found by whose it was. An id that
 * anything is counted for already is another's, or not free yet, and passed over.
 */
import { randomInt } from 'node:crypto'
import { lstatSync, mkdirSync, readlinkSync, symlinkSync } from 'node:fs'
import { isErrno, UnsupportedError } from '../errors.js'
import { namesIn } from '../linux/names.js'
import { limitProject, projectUsage } from '../linux/project-quota.js'
import { BUNDLE_ID, type BundleId } from '../store/bundle-id.js'
import { removeIfThere } from '../store/records.js'

export const FIRST_PROJECT = 2 ** 30
export const PROJECTS_OF_A_STORE = 2 ** 16
const RANGES = 2 ** 14

/** What of the kernel is asked for; a seam for tests. */
export interface ProjectCalls {
  /** Whether anything is counted for a project, or a limit is set. */
  isUsed(directory: string, project: number): boolean
  /** Takes a project's limit away. */
  forget(directory: string, project: number): void
}

const KERNEL: ProjectCalls = {
  isUsed: (directory, project) => {
    const { bytes, inodes, limitBytes } = projectUsage(directory, project)
    return bytes > 0 || inodes > 0 || limitBytes > 0
  },
  forget: (directory, project) => {
    try {
      limitProject(directory, project, 0)
    } catch (error) {
      // Quotas are off, as after a mount without them: there is no limit to take away.
      if (!isErrno(error, 'ESRCH', 'ENOSYS', 'ENOTSUP', 'EOPNOTSUPP', 'EINVAL', 'ENOTBLK')) throw error
    }
  },
}

export class ProjectIds {
  /** Of the links; made when the first id is taken. */
  readonly directory: string
  readonly #calls: ProjectCalls

  constructor(directory: string, kernel: ProjectCalls = KERNEL) {
    this.directory = directory
    this.#calls = kernel
  }

  /** Takes a free id for a bundle. */
  take(bundle: BundleId): number {
    makeIfMissing(this.directory)
    const first = this.#range()
    const taken = new Set(this.#names())
    for (let project = first; project < first + PROJECTS_OF_A_STORE; project++) {
      if (taken.has(String(project)) || this.#calls.isUsed(this.directory, project)) continue
      if (makeLink(bundle, this.#path(project))) return project
    }
    throw new UnsupportedError(
      'quota-unsupported',
      `Cannot limit what "${bundle}" writes: all ${PROJECTS_OF_A_STORE} project ids of the store are taken`,
      { facts: { feature: 'project ids', found: 'all are taken', needed: 'a free one' } },
    )
  }

  /** Gives back all ids of a bundle; that it has none is success. */
  giveBack(bundle: BundleId): void {
    for (const name of this.#names()) {
      if (this.#bundleOf(name) !== bundle) continue
      // In this order: an id whose limit stands is not taken again.
      this.#calls.forget(this.directory, Number(name))
      removeIfThere(`${this.directory}/${name}`)
    }
  }

  /** The bundles that have ids. */
  bundles(): BundleId[] {
    const found = new Set<BundleId>()
    for (const name of this.#names()) {
      const bundle = this.#bundleOf(name)
      if (bundle !== null && BUNDLE_ID.test(bundle)) found.add(bundle as BundleId)
    }
    return [...found].sort()
  }

  #range(): number {
    const path = `${this.directory}/range`
    makeLink(String(FIRST_PROJECT + randomInt(RANGES) * PROJECTS_OF_A_STORE), path)
    // Whoever was first has chosen.
    return Number(readlinkSync(path))
  }

  #names(): string[] {
    // Most stores have none, and an error costs more than the look.
    if (lstatSync(this.directory, { throwIfNoEntry: false }) === undefined) return []
    return namesIn(this.directory).filter((name) => /^\d{1,10}$/.test(name))
  }

  #bundleOf(name: string): string | null {
    try {
      return readlinkSync(`${this.directory}/${name}`)
    } catch (error) {
      if (isErrno(error, 'ENOENT', 'EINVAL')) return null
      throw error
    }
  }

  #path(project: number): string {
    return `${this.directory}/${project}`
  }
}

function makeIfMissing(directory: string): void {
  try {
    mkdirSync(directory, { mode: 0o700 })
  } catch (error) {
    if (!isErrno(error, 'EEXIST')) throw error
  }
}

/** @returns false when there is one */
function makeLink(target: string, path: string): boolean {
  try {
    symlinkSync(target, path)
    return true
  } catch (error) {
    if (isErrno(error, 'EEXIST')) return false
    throw error
  }
}
