import { describe, expect, it } from 'vitest'
import { failureOf } from '../../cli/failure.js'
import { createLog, type LogLevel } from '../../cli/log.js'
import { AbortedError, type GrootEvent, IntegrityError, UsageError } from '../../lib/index.js'

const never = new AbortController().signal

function logging(level: LogLevel, format: 'text' | 'json' = 'text') {
  const written: string[] = []
  let time = 0
  const log = createLog({ level, format, write: (lines) => written.push(lines), now: () => time })
  return {
    log,
    written,
    wait: (ms: number) => {
      time += ms
    },
  }
}

describe('a failure', () => {
  const cause = new TypeError('deep\x1b[31m down')
  const error = new IntegrityError('digest-mismatch', 'Cannot accept "a\nb": bad\x1b[2J bytes', {
    facts: { path: 'a\nb', expected: 'x' },
    cause,
  })

  it('is one line for people, without anything that steers their terminal', () => {
    const { log, written } = logging('error')
    log.failure(failureOf(error, '', never))
    expect(written).toEqual(['groot: Cannot accept "a\\x0ab": bad\\x1b[2J bytes\n'])
  })

  it('is one JSON line for programs', () => {
    const { log, written } = logging('error', 'json')
    log.failure(failureOf(error, '', never))
    expect(written.join('').split('\n')).toHaveLength(2)
    expect(JSON.parse(written.join(''))).toEqual({
      level: 'error',
      code: 'digest-mismatch',
      kind: 'integrity',
      exitStatus: 16,
      message: 'Cannot accept "a\nb": bad\x1b[2J bytes',
      facts: { path: 'a\nb', expected: 'x' },
    })
  })

  it('shows stacks at level debug only, harmless ones', () => {
    const { log, written } = logging('debug')
    log.failure(failureOf(error, '', never))
    expect(written.join('')).toMatch(/^groot: Cannot accept .*\n {2}IntegrityError: /)
    expect(written.join('')).toMatch(/\n {2}caused by: TypeError: deep\\x1b\[31m down\n {2} {4}at /)
    const json = logging('debug', 'json')
    json.log.failure(failureOf(error, '', never))
    expect(JSON.parse(json.written.join('')).stack).toContain('caused by: TypeError')
  })

  it('that is not one of ours is a fault of ours, with a hint', () => {
    expect(failureOf(new TypeError('x is undefined'), 'Cannot finish list', never)).toMatchObject({
      code: 'bug',
      kind: 'bug',
      exitStatus: 70,
      message: 'Cannot finish list: x is undefined (a fault in groot; --log-level debug tells where)',
    })
    expect(failureOf('text', 'Cannot finish list', never)).toMatchObject({ exitStatus: 70 })
    expect(failureOf(undefined, 'Cannot finish list', never)).toMatchObject({ exitStatus: 70 })
  })

  it('of the system tells the call', () => {
    const enospc = Object.assign(new Error('ENOSPC: no space left on device, write'), {
      code: 'ENOSPC',
      syscall: 'write',
      path: '/s/x',
    })
    expect(failureOf(enospc, 'Cannot finish create', never)).toMatchObject({
      code: 'disk-full',
      exitStatus: 20,
      facts: { errno: 'ENOSPC', syscall: 'write', path: '/s/x' },
    })
  })

  it.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)('after %s has the status %d, whatever the work ran into', (signal, exitStatus) => {
    const stop = new AbortController()
    stop.abort(new AbortedError(`Cannot go on: stopped by ${signal}`, { facts: { signal } }))
    expect(failureOf(new Error('socket hang up'), 'Cannot finish create', stop.signal)).toMatchObject({
      code: 'aborted',
      exitStatus,
      message: `Cannot go on: stopped by ${signal}`,
    })
  })

  it('whose causes go in a ring is still told', () => {
    const ring = new UsageError('usage-invalid', 'Cannot go')
    ring.cause = ring
    expect(failureOf(ring, '', never).stack.split('caused by:')).toHaveLength(8)
  })
})

describe('the log', () => {
  const events: GrootEvent[] = [
    { kind: 'image-resolved', reference: 'oci:dir', digest: 'sha256:aa', layers: 2 },
    { kind: 'layer-known', diffId: 'sha256:bb' },
    { kind: 'layer-start', diffId: 'sha256:cc', bytes: 4096 },
    { kind: 'layer-done', diffId: 'sha256:cc', entries: 1, newObjects: 3, newBytes: 1024 },
    { kind: 'tree-merged', entries: 7 },
    { kind: 'lock-wait', lock: 'gc', holder: 'create (pid 7)' },
    { kind: 'lock-wait', lock: 'gc', holder: null },
    { kind: 'rootfs-ready', id: 'web' },
    { kind: 'warning', code: 'odd', message: 'This is odd' },
  ]

  it.each<[LogLevel, string[]]>([
    ['error', []],
    ['warn', ['groot: warning: This is odd']],
    [
      'info',
      [
        'groot: oci:dir is sha256:aa, 2 layers',
        'groot: Layer sha256:cc: 1 entry, 3 new files with 1.0 KiB',
        'groot: Waiting for "gc", held by create (pid 7)',
        'groot: Waiting for "gc"',
        'groot: The rootfs of "web" is ready',
        'groot: warning: This is odd',
      ],
    ],
    [
      'debug',
      [
        'groot: oci:dir is sha256:aa, 2 layers',
        'groot: Layer sha256:bb is in the store',
        'groot: Reading layer sha256:cc, 4.0 KiB',
        'groot: Layer sha256:cc: 1 entry, 3 new files with 1.0 KiB',
        'groot: Merged the layers: 7 entries',
        'groot: Waiting for "gc", held by create (pid 7)',
        'groot: Waiting for "gc"',
        'groot: The rootfs of "web" is ready',
        'groot: warning: This is odd',
      ],
    ],
  ])('at level %s tells what is worth it', (level, lines) => {
    const { log, written } = logging(level)
    for (const event of events) log.event(event)
    expect(written.join('')).toBe(lines.map((line) => `${line}\n`).join(''))
  })

  it('is JSON with the facts of each event', () => {
    const { log, written } = logging('info', 'json')
    log.event(events[0]!)
    log.event({ kind: 'warning', code: 'odd', message: 'This is odd', facts: { path: '/x' } })
    expect(written.map((line) => JSON.parse(line))).toEqual([
      {
        level: 'info',
        code: 'image-resolved',
        message: 'oci:dir is sha256:aa, 2 layers',
        facts: { reference: 'oci:dir', digest: 'sha256:aa', layers: 2 },
      },
      { level: 'warn', code: 'odd', message: 'This is odd', facts: { path: '/x' } },
    ])
  })

  it('tells the progress of all layers together, at most every two seconds', () => {
    const { log, written, wait } = logging('info')
    log.event({ kind: 'layer-start', diffId: 'a', bytes: 3 * 1024 ** 2 })
    log.event({ kind: 'layer-start', diffId: 'b', bytes: 1024 ** 2 })
    log.event({ kind: 'layer-progress', diffId: 'a', bytes: 100, of: 3 * 1024 ** 2 })
    wait(2000)
    log.event({ kind: 'layer-progress', diffId: 'a', bytes: 1024 ** 2, of: 3 * 1024 ** 2 })
    log.event({ kind: 'layer-progress', diffId: 'b', bytes: 1024 ** 2, of: 1024 ** 2 })
    wait(1999)
    log.event({ kind: 'check-progress', checked: 1, of: 9 })
    wait(1)
    log.event({ kind: 'check-progress', checked: 2, of: 9 })
    expect(written).toEqual(['groot: 0 of 2 layers done, 1.0 MiB of 4.0 MiB\n', 'groot: Checked 2 of 9\n'])
  })
})
