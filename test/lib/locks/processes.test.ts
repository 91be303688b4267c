/**
 * Locks among real processes. They run what `npm run build` made, for Node does not read TypeScript by itself.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { setTimeout } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { LockManager } from '../../../lib/locks/locks.js'
import { rejectionOf, useScratch } from '../linux/scratch.js'

const LOCKS = new URL('../../../dist/lib/locks/locks.js', import.meta.url)

const scratch = useScratch()
let directory: string
let manager: LockManager
const running: ChildProcess[] = []

beforeAll(() => {
  if (!existsSync(LOCKS)) throw new Error(`${fileURLToPath(LOCKS)} is missing: run "npm run build" first`)
})

beforeEach(() => {
  directory = `${scratch.path}/locks`
  manager = new LockManager(directory, { command: 'the test' })
})

afterEach(() => {
  for (const child of running.splice(0)) child.kill('SIGKILL')
})

/** Runs a script with `manager` and `say(line)`; `line()` gives what it says next. */
function run(body: string): { child: ChildProcess; line: () => Promise<string> } {
  const path = `${scratch.path}/script-${running.length}-${Math.random()}.mjs`
  writeFileSync(
    path,
    `import { LockManager } from ${JSON.stringify(LOCKS.href)}
    const manager = new LockManager(${JSON.stringify(directory)}, { command: 'a child' })
    const say = (line) => process.stdout.write(line + '\\n')
    ${body}`,
  )
  const child = spawn(process.execPath, [path], { stdio: ['pipe', 'pipe', 'inherit'] })
  running.push(child)
  const lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]()
  return { child, line: async () => (await lines.next()).value as string }
}

const HOLD = `await manager.gc({ timeoutMs: 0 }); say('held'); setInterval(() => {}, 1000)`

describe('among processes', () => {
  it('a dead owner leaves a lock that exactly one of many takes, every time', async () => {
    // Each round begins with the leftover of a killed holder; who gets the lock keeps it until all have tried.
    const contenders = Array.from({ length: 8 }, () =>
      run(`
        const told = () => new Promise((resolve) => process.stdin.once('data', resolve))
        const lost = (error) => (error.code === 'lock-timeout' ? null : Promise.reject(error))
        for (;;) {
          say('ready')
          await told()
          const lock = await manager.gc({ timeoutMs: 0 }).catch(lost)
          say(lock ? 'won' : 'lost')
          await told()
          await lock?.release()
        }`),
    )
    for (const { line } of contenders) expect(await line()).toBe('ready')
    for (let round = 0; round < 12; round++) {
      const holder = run(HOLD)
      expect(await holder.line()).toBe('held')
      holder.child.kill('SIGKILL')
      await once(holder.child, 'exit')
      expect(readdirSync(directory)).toEqual(['gc.lock'])
      for (const { child } of contenders) child.stdin!.write('go')
      const said = await Promise.all(contenders.map(({ line }) => line()))
      expect(said.filter((word) => word === 'won')).toHaveLength(1)
      for (const { child } of contenders) child.stdin!.write('on')
      expect(new Set(await Promise.all(contenders.map(({ line }) => line())))).toEqual(new Set(['ready']))
    }
  })

  it('many that take turns never meet', async () => {
    mkdirSync(directory)
    const log = `${scratch.path}/log`
    const children = Array.from({ length: 4 }, () =>
      run(`
        import { appendFileSync } from 'node:fs'
        for (let i = 0; i < 20; i++) {
          const lock = await manager.bundle('x', { timeoutMs: 60000 })
          appendFileSync(${JSON.stringify(log)}, 'in ' + process.pid + '\\n')
          appendFileSync(${JSON.stringify(log)}, 'out ' + process.pid + '\\n')
          await lock.release()
        }
        say('done')`),
    )
    for (const { line } of children) expect(await line()).toBe('done')
    const words = readFileSync(log, 'utf8').trim().split('\n')
    expect(words).toHaveLength(160)
    for (let i = 0; i < words.length; i += 2) expect(words[i + 1]).toBe(words[i]!.replace('in', 'out'))
  })

  it('a killed holder frees its lock at once', async () => {
    const { child, line } = run(HOLD)
    expect(await line()).toBe('held')
    const waiting = manager.gc({ timeoutMs: 20_000 })
    await setTimeout(30)
    const killed = performance.now()
    child.kill('SIGKILL')
    await (await waiting).release()
    expect(performance.now() - killed).toBeLessThan(2_000)
  })

  it('a stopped holder keeps its lock, and is named when the wait ends', async () => {
    const { child, line } = run(HOLD)
    expect(await line()).toBe('held')
    child.kill('SIGSTOP')
    expect(await rejectionOf(manager.gc({ timeoutMs: 300 }))).toMatchObject({
      code: 'lock-timeout',
      facts: { lock: 'gc', holderPid: child.pid, holderCommand: 'a child' },
    })
    expect(await manager.holders()).toMatchObject([{ name: 'gc', holder: { pid: child.pid } }])
    child.kill('SIGCONT')
  })

  it('a holder with a busy event loop keeps its lock', async () => {
    const { line } = run(`
      await manager.gc({ timeoutMs: 0 })
      process.stdout.write('held\\n', () => { const until = Date.now() + 60000; while (Date.now() < until); })`)
    expect(await line()).toBe('held')
    expect(await rejectionOf(manager.gc({ timeoutMs: 300 }))).toMatchObject({ code: 'lock-timeout' })
  })

  it('a program that the holder starts does not inherit the lock', async () => {
    const { child, line } = run(`
      import { spawn } from 'node:child_process'
      await manager.gc({ timeoutMs: 0 })
      const program = spawn('sleep', ['60'])
      program.on('spawn', () => say(String(program.pid)))`)
    const program = Number(await line())
    child.kill('SIGKILL')
    await once(child, 'exit')
    await (await manager.gc({ timeoutMs: 0 })).release()
    process.kill(program, 'SIGKILL')
  })

  it('a worker thread that is ended lets go of its locks', async () => {
    const { line } = run(`
      import { Worker } from 'node:worker_threads'
      const worker = new Worker(\`
        import(\${JSON.stringify(${JSON.stringify(LOCKS.href)})}).then(async ({ LockManager }) => {
          await new LockManager(${JSON.stringify(directory)}, { command: 'a thread' }).gc({ timeoutMs: 0 })
          require('node:worker_threads').parentPort.postMessage('held')
          setInterval(() => {}, 1000)
        })\`, { eval: true })
      worker.on('message', async () => { say('held'); await worker.terminate(); say('ended') })
      setInterval(() => {}, 1000)`)
    expect(await line()).toBe('held')
    expect(await line()).toBe('ended')
    await (await manager.gc({ timeoutMs: 0 })).release()
  })
})

describe('the host process', () => {
  it('is not changed by taking locks: no handlers, nothing replaced', async () => {
    const { line } = run(`
      const look = () => [process.emit, process.reallyExit, process.cwd, process.chdir]
      const count = () => process.eventNames().map((name) => name + ' ' + process.listenerCount(name)).sort().join()
      const before = look(), listeners = count()
      await (await manager.gc({ timeoutMs: 0 })).release()
      say(String(look().every((value, i) => value === before[i])))
      say(count() === listeners ? 'same' : count())`)
    expect(await line()).toBe('true')
    expect(await line()).toBe('same')
  })

  it('keeps its own copies of what the locks use, with the hooks that those have', async () => {
    const { line } = run(`
      import { createRequire } from 'node:module'
      const outer = createRequire(${JSON.stringify(LOCKS.href)})
      const inner = createRequire(outer.resolve('proper-lockfile'))
      const before = [inner('signal-exit'), inner('graceful-fs')]
      await (await manager.gc({ timeoutMs: 0 })).release()
      say(String(before[0] === inner('signal-exit') && before[1] === inner('graceful-fs')))
      say(String(process.listenerCount('SIGTERM')))
      const emit = process.emit
      outer('proper-lockfile')
      say(String(process.listenerCount('SIGTERM') === 1 && process.emit !== emit))`)
    expect(await line()).toBe('true')
    expect(await line()).toBe('0')
    expect(await line()).toBe('true')
  })

  it('dies of SIGTERM at once, also while it is busy', async () => {
    const { child, line } = run(`
      await manager.gc({ timeoutMs: 0 })
      process.stdout.write('held\\n', () => { const until = Date.now() + 60000; while (Date.now() < until); })`)
    expect(await line()).toBe('held')
    const killed = performance.now()
    child.kill('SIGTERM')
    expect(await once(child, 'exit')).toEqual([null, 'SIGTERM'])
    expect(performance.now() - killed).toBeLessThan(5_000)
  })
})
