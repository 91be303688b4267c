/**
 * Disk limits by project quotas, which the filesystems of the machine hold: at `data` ext4, at `other` XFS.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { chmodSync, existsSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import overlay from '../../../drivers/overlay/index.js'
import vfs from '../../../drivers/vfs/index.js'
import type { BundleInfo, CreateRequest, GrootStore } from '../../../lib/index.js'
import { projectOf, projectQuotaState, projectUsage } from '../../../lib/linux/project-quota.js'
import { LimitedSpaces } from '../../../lib/quota/limited-space.js'
import { FIRST_PROJECT } from '../../../lib/quota/project-ids.js'
import type { BundleId } from '../../../lib/store/bundle-id.js'
import { driverCases } from '../../../lib/testkit/driver-cases.js'
import { LARGEST_DEVICE_OF_XFS } from '../../../lib/testkit/sample-tree.js'
import type { Check, Checks, Guest } from './check.js'
import { mountTable } from './mounts.js'
import { refused } from './refused.js'
import { contentOf, FILES, INLINE, imageNamed, storeIn } from './sample.js'

const BLOCK = 4096
const MiB = 1024 * 1024
const XFS_SLACK = 256 * 1024
const NOBODY = 65534

const FILESYSTEMS = { ext4: 'data', XFS: 'other' } as const satisfies Record<string, keyof Guest>
const DRIVERS = ['overlay', 'vfs'] as const
const MODULES = { overlay, vfs } as const

/** What the image's regular files hold. */
const IMAGE_BYTES =
  FILES.reduce((sum, name) => sum + contentOf(name).length, 0) +
  INLINE.length +
  Array.from({ length: 200 }, (_, i) => `${i}`.length).reduce((sum, length) => sum + length, 0)

type Use = (store: GrootStore, where: string) => Promise<void>

function each(title: string, use: Use): [string, Check][] {
  return Object.entries(FILESYSTEMS).flatMap(([name, where]) =>
    DRIVERS.map((driver): [string, Check] => [
      `${title}: ${driver} on ${name}`,
      async (guest) => {
        await using store = await storeIn(guest[where], driver)
        await use(store, guest[where])
      },
    ]),
  )
}

let bundles = 0

async function withLimited(
  store: GrootStore,
  request: Pick<CreateRequest, 'diskLimitSizeBytes' | 'excludeImageFromQuota'>,
  use: (bundle: BundleInfo) => void | Promise<void>,
): Promise<void> {
  const id = `limited-${++bundles}`
  const bundle = await store.create({ image: imageNamed('sealed'), id, ...request })
  try {
    chmodSync(bundle.rootfs, 0o777)
    await use(bundle)
  } finally {
    await store.delete(id)
  }
}

/** Writes to a file of a rootfs as a user without privileges. */
function dd(
  rootfs: string,
  name: string,
  bytes: number,
): { status: number | null; said: string; bytes: number } {
  const options = ['dd', 'if=/dev/zero', `of=${name}`, 'bs=1000', `count=${Math.ceil(bytes / 1000)}`]
  const running = { cwd: rootfs, uid: NOBODY, gid: NOBODY, encoding: 'utf8' } as const
  const { status, stderr } = spawnSync('/bin/busybox', options, running)
  const path = `${rootfs}/${name}`
  return { status, said: stderr, bytes: existsSync(path) ? statSync(path).size : 0 }
}

/**
 * Writes until no more can be written. XFS says of a full project what it says of a full disk, and holds back more than a
 * file needs while it is made and grows.
 */
function assertFull(rootfs: string, expected: number, name = 'filled'): void {
  const { status, said, bytes } = dd(rootfs, name, expected + 100_000)
  assert.equal(status, 1)
  if (!isOnXfs(rootfs)) {
    assert.match(said, /Disk quota exceeded/)
    return assert.equal(bytes, expected)
  }
  assert.match(said, /No space left on device/)
  assert.ok(bytes <= expected && bytes >= expected - XFS_SLACK, `${bytes} bytes of ${expected} were written`)
}

function isOnXfs(rootfs: string): boolean {
  return rootfs.startsWith('/other/')
}

/** Ids that are taken. */
function projects(store: GrootStore): string[] {
  const directory = `${store.path}/drivers/${store.driver}/projects`
  return existsSync(directory) ? readdirSync(directory).filter((name) => name !== 'range') : []
}

export const CHECKS: Checks = {
  'has project quotas that are held': ({ data, other }) => {
    assert.equal(projectQuotaState(data), 'enforced')
    assert.equal(projectQuotaState(other), 'enforced')
  },

  ...Object.fromEntries([
    ...each('lets no 11 kB be written where 10 kB are the limit', async (store) => {
      await withLimited(store, { diskLimitSizeBytes: 10_000, excludeImageFromQuota: true }, ({ rootfs }) => {
        const { status, said } = dd(rootfs, 'filled', 11_000)
        assert.equal(status, 1)
        assert.match(said, isOnXfs(rootfs) ? /No space left on device/ : /Disk quota exceeded/)
      })
    }),

    ...each(
      'lets all be written that fits, in whole blocks, and again when it was removed',
      async (store) => {
        await withLimited(
          store,
          { diskLimitSizeBytes: 2_000_000, excludeImageFromQuota: true },
          ({ rootfs }) => {
            assertFull(rootfs, Math.floor(2_000_000 / BLOCK) * BLOCK)
            rmSync(`${rootfs}/filled`)
            assertFull(rootfs, Math.floor(2_000_000 / BLOCK) * BLOCK, 'again')
          },
        )
      },
    ),

    ...each('counts the image unless it is left out of account', async (store) => {
      const bytes = IMAGE_BYTES + 2 * MiB
      await withLimited(store, { diskLimitSizeBytes: bytes }, async ({ id, rootfs }) => {
        assert.deepEqual((await store.stats(id)).disk_limit, {
          size_bytes: bytes,
          exclude_image: false,
          writable_bytes: 2 * MiB,
          backend: 'native',
        })
        assertFull(rootfs, 2 * MiB)
      })
      const request = { image: imageNamed('sealed'), id: 'small', diskLimitSizeBytes: IMAGE_BYTES - 1 }
      await refused(store.create(request), { code: 'quota-exceeded', imageBytes: IMAGE_BYTES })
    }),

    ...each('lets nothing be written where the image is all that there may be', async (store) => {
      await withLimited(store, { diskLimitSizeBytes: IMAGE_BYTES }, ({ rootfs }) => assertFull(rootfs, 0))
    }),

    ...each('raises and lowers a limit, not below what is written', async (store) => {
      const request = { diskLimitSizeBytes: MiB, excludeImageFromQuota: true }
      await withLimited(store, request, async ({ id, rootfs }) => {
        assertFull(rootfs, MiB, 'one')
        await store.limit(id, { diskLimitSizeBytes: 3 * MiB })
        assertFull(rootfs, 2 * MiB, 'two')
        const lower = store.limit(id, { diskLimitSizeBytes: 2 * MiB })
        await refused(lower, { code: 'quota-exceeded', writableBytes: 2 * MiB })
        rmSync(`${rootfs}/two`)
        await store.limit(id, { diskLimitSizeBytes: 2 * MiB })
        assertFull(rootfs, MiB, 'three')
      })
    }),

    ...each('counts bundles apart, by ids of its own range, which it gives back', async (store, where) => {
      const request = { diskLimitSizeBytes: MiB, excludeImageFromQuota: true }
      let taken: number[] = []
      await withLimited(store, request, async (one) => {
        await withLimited(store, request, async (other) => {
          assertFull(one.rootfs, MiB)
          assertFull(other.rootfs, MiB)
          taken = projects(store).map(Number)
          assert.equal(taken.length, 2)
          assert.ok(taken.every((project) => project >= FIRST_PROJECT && project < 2 ** 31))
          assert.ok(taken.includes(projectOf(`${one.bundle}/limited`)))
        })
      })
      assert.deepEqual(projects(store), [])
      for (const project of taken) assert.equal(projectUsage(where, project).limitBytes, 0)
      assert.deepEqual(readdirSync(`${store.path}/bundles`), [])
    }),

    ...each('gives back the id of a create that was killed', async (store, where) => {
      const spaces = new LimitedSpaces(`${store.path}/drivers/${store.driver}`)
      const bundle = 'killed' as BundleId
      const directory = `${store.path}/staging/killed`
      const { signal } = new AbortController()
      const syncLater = (): void => {}
      const space = {
        bundle,
        directory,
        backend: 'native',
        writableBytes: 1,
        roomBytes: 0,
        syncLater,
        signal,
      } as const
      await spaces.make(space)
      rmSync(directory, { recursive: true })
      const [project] = projects(store)
      const { removed } = await store.clean()
      assert.ok(removed.some(({ what, name }) => what === 'bundle' && name === 'killed'))
      assert.deepEqual(projects(store), [])
      assert.equal(projectUsage(where, Number(project)).limitBytes, 0)
    }),

    ...each('passes over an id that something is counted for', async (store, where) => {
      const request = { diskLimitSizeBytes: MiB, excludeImageFromQuota: true }
      await withLimited(store, request, async ({ id, rootfs }) => {
        writeFileSync(`${rootfs}/written`, 'x'.repeat(BLOCK))
        const [project] = projects(store)
        rmSync(`${store.path}/drivers/${store.driver}/projects/${project}`)
        await withLimited(store, request, () => {
          assert.notEqual(projects(store)[0], project)
        })
        assert.ok(projectUsage(where, Number(project)).bytes > 0, id)
      })
    }),

    ...each('makes a bundle to be kept', async (store) => {
      const { rootfs } = await store.create({
        image: imageNamed('sealed'),
        id: 'kept',
        diskLimitSizeBytes: MiB,
        excludeImageFromQuota: true,
      })
      chmodSync(rootfs, 0o777)
      assert.equal(dd(rootfs, 'before', 4000).status, 0)
    }),

    ...DRIVERS.flatMap((driver) =>
      driverCases({ module: MODULES[driver], place: '/other', largestDevice: LARGEST_DEVICE_OF_XFS }).map(
        ({ title, run }): [string, Check] => [`${title}: ${driver} on XFS`, run],
      ),
    ),
  ]),
}

export const AFTER: Checks = {
  ...Object.fromEntries(
    each('holds the limit after a reboot', async (store) => {
      const isMounted = store.driver === 'overlay'
      assert.deepEqual(await store.mount('kept'), { id: 'kept', changed: isMounted })
      const { rootfs } = (await store.list())[0]!
      assertFull(rootfs, MiB - BLOCK)
      await store.delete('kept')
      assert.deepEqual(projects(store), [])
      assert.deepEqual(
        mountTable().filter(({ at }) => at.startsWith(store.path)),
        [],
      )
    }),
  ),
}

/** At `data` is ext4 without quotas. */
export const REFUSED: Checks = Object.fromEntries(
  DRIVERS.map((driver): [string, Check] => [
    `refuses a limit that nobody would hold, and says what would help: ${driver}`,
    async ({ data }) => {
      await using store = await storeIn(data, driver)
      const request = { image: imageNamed('sealed'), id: 'refused', diskLimitSizeBytes: 2 ** 30 }
      await refused(store.create(request), {
        code: 'quota-unsupported',
        feature: 'project quotas',
        found: 'off',
      })
      assert.deepEqual(readdirSync(`${store.path}/bundles`), [])
    },
  ]),
)
