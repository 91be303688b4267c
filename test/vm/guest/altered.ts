/**
 * The overlay driver where the kernel checks contents: every way in which a store can be altered ends in a refusal or in
 * EIO, and what is not altered reads as it was.
 */
import assert from 'node:assert/strict'
import { closeSync, openSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { verityDigest } from '../../../lib/composefs/verity.js'
import { type GrootStore, openStore } from '../../../lib/index.js'
import { enableVerity } from '../../../lib/linux/verity.js'
import type { Check, Checks, Guest } from './check.js'
import { invertByteOnDisk } from './disk-bytes.js'
import { forgetCaches, mountTable } from './mounts.js'
import { refused } from './refused.js'
import { contentOf, INLINE } from './sample.js'
import { fileOf, imageOf, inStore, objectOf, SEALED, withBundle } from './sealed-store.js'

export const CHECKS: Checks = {
  'reads EIO where an object was replaced by a file without fs-verity': inStore(async (store) => {
    await withBundle(store, {}, async (bundle) => {
      await withReplaced(store, objectOf(store, 'swapped'), contentOf('swapped'), false, async () => {
        assert.throws(() => readFileSync(fileOf(bundle, 'swapped')), { code: 'EIO' })
        assert.equal(readFileSync(fileOf(bundle, 'read'), 'utf8'), contentOf('read'))
      })
    })
  }),

  'reads EIO where an object was replaced by another, and check finds it': inStore(async (store) => {
    await withBundle(store, {}, async (bundle) => {
      await withReplaced(
        store,
        objectOf(store, 'mistaken'),
        contentOf('mistaken').toUpperCase(),
        true,
        async () => {
          assert.throws(() => readFileSync(fileOf(bundle, 'mistaken')), { code: 'EIO' })
          const { problems } = await store.check()
          const objects = problems.filter(({ what }) => what === 'object')
          assert.deepEqual(
            objects.map(({ code, name }) => ({ code, name })),
            [{ code: 'object-damaged', name: verityDigest(Buffer.from(contentOf('mistaken'))) }],
          )
        },
      )
    })
  }),

  'reads EIO where the bytes of an object were altered on the disk': inStore(async (store, guest) => {
    await withBundle(store, {}, async (bundle) => {
      assert.equal(readFileSync(fileOf(bundle, 'altered'), 'utf8'), contentOf('altered'))
      const restore = invertByteOnDisk(guest.data, objectOf(store, 'altered'), 5000)
      try {
        assert.throws(() => readFileSync(fileOf(bundle, 'altered')), { code: 'EIO' })
      } finally {
        restore()
      }
      assert.equal(readFileSync(fileOf(bundle, 'altered'), 'utf8'), contentOf('altered'))
    })
  }),

  'reads no empty file where an object is gone': inStore(async (store) => {
    await withBundle(store, {}, (bundle) => {
      const path = objectOf(store, 'lost')
      const aside = `${store.path}/staging/lost`
      renameSync(path, aside)
      try {
        assert.throws(() => readFileSync(fileOf(bundle, 'lost')), { code: /^(EIO|ENOENT)$/ })
      } finally {
        renameSync(aside, path)
      }
    })
  }),

  ...Object.fromEntries(
    (['require', 'try'] as const).flatMap((verity): [string, Check][] => [
      [
        `refuses an altered image that has fs-verity (${verity})`,
        inStore((store) => refusesReplaced(store, { verity, altered: true, withVerity: true })),
      ],
      [
        `refuses an altered image that has none (${verity})`,
        inStore((store) => refusesReplaced(store, { verity, altered: true, withVerity: false })),
      ],
    ]),
  ),

  'refuses an image that has no fs-verity any more when it is required': inStore((store) =>
    refusesReplaced(store, { verity: 'require', altered: false, withVerity: false }),
  ),

  'gives no other tree than the expected, also where the record of the base was altered with it':
    refusesForged,

  'refuses an image whose first bytes were altered on the disk': inStore((store, guest) =>
    refusesInverted(store, guest, 1024),
  ),

  'reads EIO where the bytes of an image were altered on the disk': inStore(async (store, guest) => {
    await withBundle(store, {}, async ({ id, rootfs, digest }) => {
      await store.unmount(id)
      const image = imageOf(store, digest)
      const restore = invertByteOnDisk(
        guest.data,
        image,
        readFileSync(image).indexOf('name-of-some-length-150'),
      )
      try {
        await store.mount(id)
        assert.throws(() => readdirSync(`${rootfs}/names`), { code: 'EIO' })
        await store.unmount(id)
      } finally {
        restore()
      }
      await store.mount(id)
      assert.equal(readdirSync(`${rootfs}/names`).length, 200)
    })
  }),

  'leaves nothing mounted, and a store without problems': inStore(async (store) => {
    assert.deepEqual(await store.list(), [])
    assert.deepEqual(
      mountTable().filter(({ at }) => at.startsWith(store.path)),
      [],
    )
    assert.deepEqual((await store.check()).problems, [])
  }),
}

/** While another file stands in the place of one. */
async function withReplaced(
  store: GrootStore,
  path: string,
  content: string | Buffer,
  withVerity: boolean,
  use: () => Promise<void>,
): Promise<void> {
  const aside = `${store.path}.aside`
  renameSync(path, aside)
  try {
    writeFileSync(path, content)
    if (withVerity) {
      const fd = openSync(path, 'r')
      assert.ok(enableVerity(fd))
      closeSync(fd)
    }
    forgetCaches()
    await use()
  } finally {
    rmSync(path)
    renameSync(aside, path)
    forgetCaches()
  }
}

interface Replacement {
  readonly verity: 'require' | 'try'
  /** Whether it tells another tree; else it has the same bytes. */
  readonly altered: boolean
  readonly withVerity: boolean
}

async function refusesReplaced(store: GrootStore, how: Replacement): Promise<void> {
  const image = SEALED
  const { digest } = await store.digest({ image })
  const path = imageOf(store, digest)
  const bytes = readFileSync(path)
  if (how.altered) bytes.write('THIS', bytes.indexOf(INLINE))
  await withReplaced(store, path, bytes, how.withVerity, async () => {
    try {
      const creating = store.create({ image, id: 'refused', verity: how.verity })
      await refused(creating, { code: 'base-damaged', expected: digest })
    } finally {
      await store.delete('refused')
    }
  })
}

/** The image and what the driver wrote down of it, both of another tree; by a process that knew neither before. */
async function refusesForged(guest: Guest): Promise<void> {
  await inStore(async (store) => {
    const { digest } = await store.digest({ image: SEALED })
    const path = imageOf(store, digest)
    const bytes = readFileSync(path)
    bytes.write('THIS', bytes.indexOf(INLINE))
    const record = `${dirname(path)}/base.json`
    const written = readFileSync(record, 'utf8')
    await withReplaced(store, path, bytes, true, async () => {
      writeFileSync(record, written.replace(digest, verityDigest(bytes)))
      try {
        await using other = await openStore({ path: store.path, make: false, thread: 'engine' })
        const request = { image: SEALED, id: 'refused', verity: 'require', expectDigest: digest } as const
        await refused(other.create(request), { code: 'base-damaged' })
      } finally {
        writeFileSync(record, written)
        await store.delete('refused')
      }
    })
  })(guest)
}

async function refusesInverted(store: GrootStore, guest: Guest, offset: number): Promise<void> {
  const image = SEALED
  const { digest } = await store.digest({ image })
  const restore = invertByteOnDisk(guest.data, imageOf(store, digest), offset)
  try {
    await refused(store.create({ image, id: 'refused' }), { code: 'system-call', errno: 'EIO' })
  } finally {
    restore()
    await store.delete('refused')
  }
}
