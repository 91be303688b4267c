import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  symlinkSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { setTimeout } from 'node:timers/promises'
import { beforeEach, describe, expect, it } from 'vitest'
import { flockRefused } from '../../../lib/locks/guard.js'
import { LockManager } from '../../../lib/locks/locks.js'
import { openBelow, rejectionOf, useScratch } from '../linux/scratch.js'

const scratch = useScratch()
let directory: string
let manager: LockManager

beforeEach(() => {
  directory = `${scratch.path}/locks`
  manager = new LockManager(directory, { command: 'groot test' })
})

const soon = { timeoutMs: 0 }

describe('a lock', () => {
  it('is held by one until it lets go, and then leaves nothing behind', async () => {
    const lock = await manager.bundle('web-1', soon)
    expect(lock.name).toBe('bundle/web-1')
    expect(readdirSync(directory)).toEqual(['bundle-web-1.lock'])
    expect(statSync(directory).mode & 0o777).toBe(0o700)
    expect(await rejectionOf(manager.bundle('web-1', soon))).toMatchObject({ code: 'lock-timeout' })
    await lock.release()
    await lock.release()
    expect(readdirSync(directory)).toEqual([])
    expect(openBelow(scratch.path)).toEqual([])
    await (await manager.bundle('web-1', soon)).release()
  })

  it('tells its holder when somebody else has tried to take it, and forgets it with the next holder', async () => {
    const lock = await manager.gc(soon)
    expect(lock.isWanted()).toBe(false)
    // Looking at it is not wanting it.
    await manager.holders()
    expect(lock.isWanted()).toBe(false)
    await rejectionOf(new LockManager(directory, { command: 'other' }).gc(soon))
    expect(lock.isWanted()).toBe(true)
    await lock.release()
    expect(lock.isWanted()).toBe(false)
    await using next = await manager.gc(soon)
    expect(next.isWanted()).toBe(false)
  })

  it('that a dead owner left is not wanted because it was once', async () => {
    mkdirSync(directory)
    writeFileSync(`${directory}/gc.lock`, '')
    utimesSync(`${directory}/gc.lock`, 1, 1)
    await using lock = await manager.gc(soon)
    expect(lock.isWanted()).toBe(false)
  })

  it('ends with its block', async () => {
    {
      await using lock = await manager.gc(soon)
      expect(lock.name).toBe('gc')
      expect((await manager.holders()).map(({ name }) => name)).toEqual(['gc'])
    }
    expect(await manager.holders()).toEqual([])
  })

  it('excludes operations of one process, and only those that want the same', async () => {
    const other = new LockManager(directory, { command: 'other' })
    const locks = [
      await manager.gc(soon),
      await manager.bundle('x', soon),
      await other.bundle('y', soon),
      await other.base('x', soon),
      await manager.layer('sha256:ab', soon),
      await other.task('x', soon),
    ]
    expect((await other.holders()).map(({ name }) => name)).toEqual([
      'base/x',
      'bundle/x',
      'bundle/y',
      'gc',
      'layer/sha256:ab',
      'task/x',
    ])
    expect(await rejectionOf(other.gc(soon))).toMatchObject({ code: 'lock-timeout' })
    for (const lock of locks) await lock.release()
  })

  it('is never held by two of many that want it at once', async () => {
    let inside = 0
    let most = 0
    let turns = 0
    const contender = async (): Promise<void> => {
      for (let i = 0; i < 5; i++) {
        await using _ = await manager.layer('sha256:ab', { timeoutMs: 30_000 })
        most = Math.max(most, ++inside)
        turns++
        await setTimeout(Math.random() * 2)
        inside--
      }
    }
    await Promise.all(Array.from({ length: 8 }, contender))
    expect({ most, turns }).toEqual({ most: 1, turns: 40 })
    expect(readdirSync(directory)).toEqual([])
    expect(openBelow(scratch.path)).toEqual([])
  })

  it('adopts what a dead owner left, also half written or longer', async () => {
    mkdirSync(directory)
    for (const left of [
      '',
      '{"pid": 1',
      'x'.repeat(10_000),
      '{"lock":"gc","pid":1,"command":"x","since":"y"}',
    ]) {
      writeFileSync(`${directory}/gc.lock`, left)
      const lock = await manager.gc(soon)
      expect(JSON.parse(readFileSync(`${directory}/gc.lock`, 'utf8'))).toEqual({
        lock: 'gc',
        pid: process.pid,
        command: 'groot test',
        since: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
      })
      await lock.release()
    }
  })

  it('does not follow a symlink to another file', async () => {
    mkdirSync(directory)
    writeFileSync(`${scratch.path}/other`, 'kept')
    symlinkSync('../other', `${directory}/gc.lock`)
    expect(await rejectionOf(manager.gc(soon))).toMatchObject({
      kind: 'system',
      code: 'system-call',
      facts: { errno: 'ELOOP' },
      message: expect.stringMatching(/^Cannot take lock "gc": ELOOP/),
    })
    expect(readFileSync(`${scratch.path}/other`, 'utf8')).toBe('kept')
  })

  it('tells its holder when it was lost, within seconds', async () => {
    const lock = await manager.gc(soon)
    expect(lock.lost.aborted).toBe(false)
    unlinkSync(`${directory}/gc.lock`)
    const lost = new Promise((resolve) =>
      lock.lost.addEventListener('abort', () => resolve(lock.lost.reason)),
    )
    expect(await lost).toMatchObject({ kind: 'busy', code: 'lock-lost', facts: { lock: 'gc' } })
    await lock.release()
    expect(openBelow(scratch.path)).toEqual([])
    await (await manager.gc(soon)).release()
  })

  it('does not take away the file of another when it was replaced', async () => {
    const lock = await manager.gc(soon)
    renameSync(`${directory}/gc.lock`, `${directory}/moved`)
    const second = await manager.gc(soon)
    await lock.release()
    expect(existsSync(`${directory}/gc.lock`)).toBe(true)
    expect(await rejectionOf(manager.gc(soon))).toMatchObject({ code: 'lock-timeout' })
    await second.release()
  })
})

describe('waiting for a lock', () => {
  it('ends at the deadline with the name of lock and holder', async () => {
    await using _ = await manager.bundle('web-1', soon)
    const told: unknown[] = []
    const started = performance.now()
    const error = await rejectionOf(
      manager.bundle('web-1', { timeoutMs: 120, onWait: (...what) => told.push(what) }),
    )
    expect(performance.now() - started).toBeGreaterThanOrEqual(120)
    const facts = error.facts as Record<string, unknown>
    expect(error).toMatchObject({
      kind: 'busy',
      temporary: true,
      exitStatus: 11,
      code: 'lock-timeout',
      facts: { lock: 'bundle/web-1', holderPid: process.pid, holderCommand: 'groot test' },
    })
    expect(facts.waitedMs).toBeGreaterThanOrEqual(120)
    expect(Date.parse(facts.holderSince as string)).toBeLessThanOrEqual(Date.now())
    expect(error.message).toBe(
      `Cannot take lock "bundle/web-1": process ${process.pid} (groot test) holds it since ${facts.holderSince}; ` +
        `gave up after ${facts.waitedMs} ms`,
    )
    expect(told).toEqual([
      ['bundle/web-1', { pid: process.pid, command: 'groot test', since: facts.holderSince }],
    ])
  })

  it('says that the holder is not known when its file says nothing', async () => {
    await using _ = await manager.gc(soon)
    writeFileSync(`${directory}/gc.lock`, 'nonsense')
    expect(await rejectionOf(manager.gc(soon))).toMatchObject({
      message: expect.stringMatching(
        /^Cannot take lock "gc": another process holds it; gave up after \d+ ms$/,
      ),
      facts: { holderPid: null, holderCommand: null, holderSince: null },
    })
    expect(await manager.holders()).toEqual([{ name: 'gc', holder: null }])
  })

  it('goes on when the lock is let go', async () => {
    const lock = await manager.gc(soon)
    const waiting = manager.gc({ timeoutMs: 10_000 })
    await setTimeout(50)
    const freed = performance.now()
    await lock.release()
    await (await waiting).release()
    expect(performance.now() - freed).toBeLessThan(1_000)
  })

  it('ends at once when it is aborted, before or while it waits', async () => {
    await using _ = await manager.gc(soon)
    const abort = new AbortController()
    const waiting = manager.gc({ timeoutMs: 60_000, signal: abort.signal })
    await setTimeout(40)
    const started = performance.now()
    abort.abort()
    expect(await rejectionOf(waiting)).toMatchObject({ kind: 'aborted', code: 'aborted' })
    expect(performance.now() - started).toBeLessThan(500)
    expect(await rejectionOf(manager.bundle('x', { timeoutMs: 0, signal: abort.signal }))).toMatchObject({
      code: 'aborted',
    })
    expect((await manager.holders()).map(({ name }) => name)).toEqual(['gc'])
  })
})

describe('ranks', () => {
  it('are kept within a scope: gc, bundle, base, layer', async () => {
    const scope = manager.scope()
    const locks = [await scope.gc(soon), await scope.bundle('a', soon), await scope.base('b', soon)]
    const layer = await scope.layer('c', soon)
    for (const take of [
      () => scope.gc(soon),
      () => scope.bundle('z', soon),
      () => scope.base('z', soon),
      () => scope.layer('z', soon),
    ]) {
      expect(await rejectionOf(take())).toMatchObject({ kind: 'bug', code: 'bug' })
    }
    await layer.release()
    expect(await rejectionOf(scope.bundle('z', soon))).toMatchObject({
      message:
        'Cannot take lock "bundle/z" while holding "bundle/a": locks are taken in the order gc, bundle, base, layer',
      facts: { wanted: 'bundle/z', held: 'bundle/a' },
    })
    await (await scope.layer('d', soon)).release()
    for (const lock of locks) await lock.release()
    await (await scope.gc(soon)).release()
  })

  it('count from when a lock is waited for, and no more when it was not got', async () => {
    const other = await manager.layer('a', soon)
    const scope = manager.scope()
    const waiting = rejectionOf(scope.layer('a', { timeoutMs: 50 }))
    expect(await rejectionOf(scope.layer('b', soon))).toMatchObject({ code: 'bug' })
    expect(await waiting).toMatchObject({ code: 'lock-timeout' })
    await (await scope.bundle('c', soon)).release()
    await other.release()
  })

  it('leave out tasks, and hold for each scope alone', async () => {
    const [one, two] = [manager.scope(), manager.scope()]
    const layer = await one.layer('a', soon)
    const task = await one.task('x', soon)
    await (await two.gc(soon)).release()
    await (await manager.bundle('b', soon)).release()
    await task.release()
    await layer.release()
  })

  it('go on in branches, which do not see each other', async () => {
    const scope = manager.scope()
    const bundle = await scope.bundle('a', soon)
    const [one, two] = [scope.branch(), scope.branch()]
    const layers = [await one.layer('b', soon), await two.layer('c', soon)]
    expect(await rejectionOf(one.layer('d', soon))).toMatchObject({ code: 'bug' })
    expect(await rejectionOf(two.bundle('e', soon))).toMatchObject({
      code: 'bug',
      facts: { held: 'bundle/a' },
    })
    for (const lock of [...layers, bundle]) await lock.release()
  })
})

describe('the locks directory', () => {
  it('tells who holds what, and only that', async () => {
    expect(await manager.holders()).toEqual([])
    await using _ = await manager.bundle('Web_1', soon)
    writeFileSync(`${directory}/layer-dead.lock`, '')
    writeFileSync(`${directory}/unrelated`, '')
    expect(await manager.holders()).toEqual([
      {
        name: 'bundle/Web_1',
        holder: { pid: process.pid, command: 'groot test', since: expect.stringMatching(/^\d{4}-/) },
      },
    ])
  })

  it('is rid of what dead owners left, and of nothing that is held', async () => {
    await using _ = await manager.bundle('a', soon)
    writeFileSync(`${directory}/layer-dead.lock`, '')
    writeFileSync(`${directory}/unrelated`, '')
    expect(await manager.removeLeftovers()).toBe(1)
    expect(readdirSync(directory).sort()).toEqual(['bundle-a.lock', 'unrelated'])
  })

  it('is found usable where locks work, and left as it was', async () => {
    await manager.assertUsable()
    expect(readdirSync(directory)).toEqual([])
    expect(openBelow(scratch.path)).toEqual([])
  })

  it.each(['ENOLCK', 'ENOTSUP', 'ENOSYS'])('is said to be unusable where flock fails with %s', (code) => {
    const cause = Object.assign(new Error(code), { code })
    expect(flockRefused(cause, '/net/store/locks/gc.lock')).toMatchObject({
      kind: 'unsupported',
      code: 'lock-unsupported',
      facts: { directory: '/net/store/locks', errno: code },
      message: `Cannot take locks in "/net/store/locks": its filesystem has no flock (${code}), which groot needs`,
      cause,
    })
    const other = Object.assign(new Error('EIO'), { code: 'EIO' })
    expect(flockRefused(other, '/x')).toBe(other)
  })

  it('has to be one in which files can be made', async () => {
    const nowhere = new LockManager('/proc/self', { command: 'groot test' })
    expect(await rejectionOf(nowhere.gc(soon))).toMatchObject({
      kind: 'system',
      code: 'system-call',
      message: expect.stringMatching(/^Cannot take lock "gc": /),
    })
  })
})
