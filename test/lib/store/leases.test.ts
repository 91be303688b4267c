import { execFileSync } from 'node:child_process'
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { beforeEach, describe, expect, it } from 'vitest'
import { LockManager } from '../../../lib/locks/locks.js'
import { endDeadLease, isLeaseAlive, Lease } from '../../../lib/store/leases.js'
import { RootReader } from '../../../lib/store/roots.js'
import { isRoot, useScratch } from '../linux/scratch.js'
import { diffIdOf, SyntheticStore } from './synthetic-store.js'

const scratch = useScratch()
let store: SyntheticStore
let locks: LockManager
const soon = { timeoutMs: 0 }
beforeEach(async () => {
  store = await SyntheticStore.make(`${scratch.path}/store`)
  locks = new LockManager(store.layout.locks, { command: 'groot test' })
})

describe('a lease', () => {
  it('holds what it needs from when it says so to when it ends, and leaves nothing', async () => {
    const layers = [diffIdOf('a')]
    {
      await using lease = new Lease(store.layout, locks, soon)
      expect(readdirSync(store.layout.leases)).toEqual([])
      await lease.need({ bundle: 'b', layers })
      const staging = lease.staging()
      writeFileSync(`${staging}/x`, 'x')
      expect([...new RootReader(store.layout).read().layers]).toEqual(layers)
      expect(isLeaseAlive(store.layout, lease.id)).toBe(true)
      await lease.need({ layers: [diffIdOf('b')] })
      expect(isLeaseAlive(store.layout, lease.id)).toBe(true)
      expect([...new RootReader(store.layout).read().layers]).toEqual([diffIdOf('b')])
      const record = JSON.parse(readFileSync(`${store.layout.leases}/${lease.id}.json`, 'utf8'))
      expect(record).toMatchObject({
        format: 1,
        id: lease.id,
        pid: process.pid,
        command: 'groot test',
        needs: { layers: [diffIdOf('b')] },
      })
    }
    expect(readdirSync(store.layout.leases)).toEqual([])
    expect(readdirSync(store.layout.staging)).toEqual([])
    expect(await locks.holders()).toEqual([])
  })

  it('shows before it has a staging directory, and leaves nothing when it needs nothing else', async () => {
    {
      await using lease = new Lease(store.layout, locks, soon)
      lease.staging()
      expect(isLeaseAlive(store.layout, lease.id)).toBe(true)
    }
    expect([readdirSync(store.layout.leases), readdirSync(store.layout.staging)]).toEqual([[], []])
  })

  it('is dead when nobody has claimed its record, and lets go what was its own', async () => {
    const dead = store.lease({ layers: [] })
    await using alive = new Lease(store.layout, locks, soon)
    await alive.need({})
    const ended: string[] = []
    const end = (id: string) => endDeadLease(store.layout, id, async () => void ended.push(id))
    expect([await end(dead), await end(alive.id), await end('without-record')]).toEqual([true, false, true])
    expect(ended).toEqual([dead, 'without-record'])
    expect(readdirSync(store.layout.leases)).toEqual([`${alive.id}.json`])
  })

  it('says what it needs, and waits for who condemns things now', async () => {
    {
      await using lease = new Lease(store.layout, locks, soon)
      const gc = await locks.gc(soon)
      await expect(lease.need({ layers: [] })).rejects.toMatchObject({
        code: 'lock-timeout',
        facts: { lock: 'gc' },
      })
      let isHeard = false
      const patient = { timeoutMs: 10_000 }
      await using other = new Lease(store.layout, locks, patient)
      const needing = other.need({ layers: [] }).then(() => {
        isHeard = true
      })
      await new Promise((resolve) => setTimeout(resolve, 100))
      expect([isHeard, gc.isWanted()]).toEqual([false, true])
      expect(readdirSync(store.layout.leases)).toContain(`${other.id}.json`)
      await gc.release()
      await needing
    }
    expect(readdirSync(store.layout.leases)).toEqual([])
  })

  it('takes no lock that others wait for', async () => {
    await using one = new Lease(store.layout, locks, soon)
    const names: string[] = []
    const { gc } = locks
    locks.gc = (request) => {
      names.push('gc')
      return gc.call(locks, request)
    }
    await one.need({ layers: [] })
    expect(names).toEqual([])
  })

  it('marks its image and its base as used', async () => {
    const layers = [diffIdOf('a')]
    const image = store.image('docker://r/a:1', layers)
    const base = store.base(layers)
    const paths = [store.layout.blob(image), store.layout.base(base)]
    const longAgo = new Date('2020-01-01')
    for (const path of paths) utimesSync(path, longAgo, longAgo)
    await using lease = new Lease(store.layout, locks, soon)
    await lease.need({ image, layers, base })
    for (const path of paths) expect(Date.now() - statSync(path).mtimeMs).toBeLessThan(60_000)
  })

  it.skipIf(!isRoot)(
    'ends also when something of it cannot be removed, which it tells (needs root)',
    async () => {
      const told: unknown[] = []
      const lease = new Lease(store.layout, locks, soon, (error) => told.push(error))
      const busy = `${lease.staging()}/busy`
      mkdirSync(busy)
      execFileSync('mount', ['-t', 'tmpfs', 'groot-test', busy])
      try {
        await lease[Symbol.asyncDispose]()
      } finally {
        execFileSync('umount', [busy])
      }
      expect(told).toEqual([expect.objectContaining({ code: expect.any(String) })])
      expect(isLeaseAlive(store.layout, lease.id)).toBe(false)
      // A leaving, as of a killed process.
      expect(existsSync(busy)).toBe(true)
      expect(await endDeadLease(store.layout, lease.id, async () => {})).toBe(true)
    },
  )

  it('may end twice, also when others removed what was its own', async () => {
    const lease = new Lease(store.layout, locks, soon)
    await lease.need({})
    await lease[Symbol.asyncDispose]()
    await lease[Symbol.asyncDispose]()
    expect(existsSync(`${store.layout.leases}/${lease.id}.json`)).toBe(false)
  })
})
