/**
 * vfs: every rootfs is a directory of its own, written from the tree. Works on every filesystem, also without root.
 *
 * Contents are shared with `objects/` where the filesystem can reflink, and copied elsewhere. There are no bases and no
 * mounts, so nothing is lost in a reboot and nothing needs to be unmounted.
 */

import { closeSync, openSync } from 'node:fs'
import {
  type BaseId,
  type BaseUsage,
  BugError,
  type BundleId,
  type Driver,
  type DriverModule,
  diskUsageInSlices,
  materialise,
  type Rootfs,
  type RootfsPlace,
  type RootfsSpec,
  type RootfsUsage,
  removeTreeInSlices,
  syncFilesystem,
  UsageError,
} from '../../lib/driver/kit.js'

const vfs: DriverModule<null> = {
  api: 1,
  name: 'vfs',

  parseOptions(raw: unknown): null {
    if (raw === null || raw === undefined) return null
    const key = typeof raw === 'object' ? Object.keys(raw)[0] : undefined
    if (key === undefined && typeof raw === 'object') return null
    throw new UsageError(
      'option-invalid',
      `Cannot use driver option ${JSON.stringify(key ?? raw)}: the vfs driver has none`,
      {
        facts: { driver: 'vfs', option: key ?? null },
      },
    )
  },

  async probe() {
    return { usable: true, notes: ['every bundle is a full copy of its image'] }
  },

  async open(): Promise<Driver> {
    return new VfsDriver()
  },
}

export default vfs

class VfsDriver implements Driver {
  readonly traits = {
    bases: false,
    mounts: false,
    verity: false,
    diskLimits: false,
    nearBases: false,
    rootless: true,
  }

  async prepare(): Promise<BaseUsage> {
    throw new BugError('Cannot prepare a base: the vfs driver has none')
  }

  async removeBase(): Promise<void> {}

  async create(spec: RootfsSpec): Promise<Rootfs> {
    const tree = await spec.tree()
    const skipped = new Skipped()
    await materialise(tree, spec.objects, spec.at, {
      ignoreOwnership: spec.ignoreOwnership,
      signal: spec.signal,
      onSkipped: (what, path, detail) => skipped.add(what, path, detail),
    })
    skipped.report(spec)
    syncPath(spec.at)
    return { mounts: [] }
  }

  async remove(_id: BundleId, at: string): Promise<void> {
    await removeTreeInSlices(at)
  }

  async usage({ at }: RootfsPlace): Promise<RootfsUsage> {
    const { bytes } = await diskUsageInSlices(at)
    return { totalBytes: bytes, exclusiveBytes: bytes }
  }

  async *listBases(): AsyncGenerator<BaseId> {}
  // A rootfs stands in its bundle and nowhere else, so there is nothing that the core does not know already.
  async *listBundles(): AsyncGenerator<BundleId> {}
}

function syncPath(directory: string): void {
  const fd = openSync(directory, 'r')
  try {
    syncFilesystem(fd)
  } finally {
    closeSync(fd)
  }
}

/** What an unprivileged caller could not have, counted by kind; one warning each, not one a file. */
class Skipped {
  readonly #kinds = new Map<string, { count: number; first: string }>()

  add(what: string, path: string, detail: string): void {
    const kind = this.#kinds.get(what)
    if (kind === undefined)
      this.#kinds.set(what, { count: 1, first: detail === '' ? path : `${path} (${detail})` })
    else kind.count++
  }

  report(spec: RootfsSpec): void {
    for (const [what, { count, first }] of this.#kinds) {
      spec.events({
        kind: 'warning',
        code: `${what}-left-out`,
        message: `${count} ${what}${count === 1 ? '' : 's'} left out, as ownership is ignored; the first: ${first}`,
        facts: { id: spec.id, what, count },
      })
    }
  }
}
