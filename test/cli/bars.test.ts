import { EventEmitter } from 'node:events'
import { setTimeout } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { type BarStream, createBars } from '../../cli/bars.js'
import { createLog } from '../../cli/log.js'
import type { GrootEvent } from '../../lib/index.js'
import { groot } from './fake-library.js'

/** A terminal that keeps what can be read on it, all lines that ever scrolled. */
class Terminal extends EventEmitter {
  readonly isTTY = true
  readonly columns = 80
  readonly lines: string[] = ['']
  written = ''
  #row = 0
  #column = 0

  write(text: string): boolean {
    this.written += text
    for (const [token] of text.matchAll(/\x1b\[\??\d*[A-Za-z]|./gs)) this.#take(token)
    return true
  }

  /** Lines with something on them. */
  get shown(): string[] {
    return this.lines.map((line) => line.trimEnd()).filter((line) => line !== '')
  }

  #take(token: string): void {
    const [, count = '', command] = /^\x1b\[\??(\d*)([A-Za-z])$/.exec(token) ?? []
    const line = this.lines[this.#row] ?? ''
    if (token === '\n') {
      this.#row++
      this.#column = 0
      this.lines[this.#row] ??= ''
      return
    }
    switch (command) {
      case 'A':
        this.#row = Math.max(0, this.#row - Number(count || 1))
        return
      case 'G':
        this.#column = Number(count || 1) - 1
        return
      case 'J':
        this.lines.length = this.#row + 1
        this.lines[this.#row] = line.slice(0, this.#column)
        return
      case 'K':
        this.lines[this.#row] = count === '2' ? '' : line.slice(0, this.#column)
        return
      default:
        if (command !== undefined) throw new Error(`the terminal does not know ${JSON.stringify(token)}`)
        this.lines[this.#row] =
          line.padEnd(this.#column).slice(0, this.#column) + token + line.slice(this.#column + 1)
        this.#column++
    }
  }
}

const ONE = `sha256:${'1'.repeat(64)}`
const TWO = `sha256:${'2'.repeat(64)}`
const queued = (diffId: string): GrootEvent => ({
  kind: 'layer-queued',
  diffId,
  digest: 'sha256:x',
  bytes: 4096,
})
const start = (diffId: string): GrootEvent => ({ kind: 'layer-start', diffId, bytes: 4096 })
const progress = (diffId: string, bytes: number): GrootEvent => ({
  kind: 'layer-progress',
  diffId,
  bytes,
  of: 4096,
})
const done = (diffId: string): GrootEvent => ({
  kind: 'layer-done',
  diffId,
  entries: 1,
  newObjects: 1,
  newBytes: 4096,
})

const MANY = { turns: 200 }
async function until(isTrue: () => boolean): Promise<void> {
  for (let turn = 0; turn < MANY.turns && !isTrue(); turn++) await setTimeout(10)
  expect(isTrue()).toBe(true)
}

async function drawing() {
  const terminal = new Terminal()
  let time = 0
  const bars = createBars(terminal as unknown as BarStream, () => time)
  const log = createLog({ level: 'info', format: 'text', write: () => {}, now: () => time, bars })
  const wait = (ms: number) => {
    time += ms
  }
  // The library is loaded when there is something to draw, and draws from then on.
  for (const event of [queued(ONE), queued(TWO), start(ONE)]) log.event(event)
  await until(() => {
    log.event(progress(ONE, 0))
    return bars.isDrawing
  })
  return { terminal, bars, log, wait }
}

describe('bars', () => {
  it('show what is on its way, and each layer that is being read', async () => {
    const { terminal, bars, log, wait } = await drawing()
    wait(2000)
    log.event(progress(ONE, 2048))
    log.event(start(TWO))
    log.event(progress(TWO, 1024))
    await until(() => terminal.shown.length === 3 && terminal.shown[2]!.includes('25%'))
    expect(terminal.shown).toEqual([
      expect.stringMatching(/^0 of 2 layers +\[.{24}\] 37% {2}3\.0 KiB of 8\.0 KiB, 1\.5 KiB\/s$/),
      expect.stringMatching(/^ {2}111111111111 +\[.{24}\] 50% {2}2\.0 KiB of 4\.0 KiB$/),
      expect.stringMatching(/^ {2}222222222222 +\[.{24}\] 25% {2}1\.0 KiB of 4\.0 KiB$/),
    ])
    bars.stop()
    expect(terminal.shown).toEqual([])
  })

  it('leave the lines of the log whole above them, and nothing of themselves', async () => {
    const { terminal, bars, log } = await drawing()
    const long = `a warning that is longer than the terminal is wide ${'and longer '.repeat(8)}`
    log.event({ kind: 'warning', code: 'odd', message: long })
    log.event(start(TWO))
    log.event({ kind: 'warning', code: 'odd', message: 'short' })
    expect(terminal.shown.slice(0, 2)).toEqual([`groot: warning: ${long}`.trimEnd(), 'groot: warning: short'])
    expect(terminal.shown.length).toBeGreaterThan(2)
    log.event(done(ONE))
    log.event(done(TWO))
    log.note('info', { code: 'x', message: 'later' })
    log.close()
    log.note('info', { code: 'x', message: 'last' })
    expect(terminal.shown).toEqual([
      `groot: warning: ${long}`.trimEnd(),
      'groot: warning: short',
      expect.stringMatching(/^groot: Layer sha256:1+: 1 entry/),
      expect.stringMatching(/^groot: Layer sha256:2+: 1 entry/),
      'groot: later',
      'groot: last',
    ])
    expect(bars.isDrawing).toBe(false)
  })

  it('go when all is read, and come again when more is', async () => {
    const { terminal, bars, log } = await drawing()
    log.event(done(ONE))
    log.event({ kind: 'layer-known', diffId: TWO })
    expect([bars.isDrawing, terminal.shown.length]).toEqual([false, 1])
    log.event(queued(TWO))
    log.event(start(TWO))
    expect(bars.isDrawing).toBe(true)
    log.close()
    expect(terminal.shown.length).toBe(1)
  })

  it('say no lines about progress meanwhile', async () => {
    const { terminal, log, wait } = await drawing()
    wait(10_000)
    log.event(progress(ONE, 2000))
    log.close()
    expect(terminal.shown).toEqual([])
  })

  it('are drawn for check and clean', async () => {
    const terminal = new Terminal()
    const bars = createBars(terminal as unknown as BarStream, () => 0)
    await until(() => {
      bars.event({ kind: 'check-progress', checked: 5, of: 10 })
      return bars.isDrawing
    })
    await until(() => terminal.shown.length > 0)
    expect(terminal.shown).toEqual([expect.stringMatching(/^checked +\[.{24}\] 50% {2}5 of 10$/)])
    bars.stop()
    expect(terminal.shown).toEqual([])
  })

  it('hide nothing when the library that draws them is not there', async () => {
    const terminal = new Terminal()
    let time = 0
    const load = () => Promise.reject(new Error('not there'))
    const bars = createBars(terminal as unknown as BarStream, () => time, load)
    const log = createLog({ level: 'info', format: 'text', write: () => {}, now: () => time, bars })
    log.event(start(ONE))
    await setTimeout(10)
    time += 10_000
    log.event(progress(ONE, 2048))
    expect(terminal.shown).toEqual(['groot: 0 of 1 layer done, 2.0 KiB of 4.0 KiB'])
  })

  it('hide no cursor and catch no signal', async () => {
    const before = process.listenerCount('SIGINT')
    const { terminal, bars } = await drawing()
    expect(process.listenerCount('SIGINT')).toBe(before)
    bars.stop()
    expect(terminal.written).not.toMatch(/\x1b\[\?/)
  })
})

describe('the command', () => {
  const CREATE = {
    create: async ({ onEvent }: { onEvent?: (event: GrootEvent) => void }) => {
      for (const event of [queued(ONE), start(ONE), progress(ONE, 1)]) onEvent?.(event)
      await setTimeout(300)
      onEvent?.(progress(ONE, 4096))
      onEvent?.({ kind: 'warning', code: 'odd', message: 'odd' })
      onEvent?.(done(ONE))
      throw new TypeError('x')
    },
  }
  const run = async (line: string, screen: Terminal | null) => {
    const terminal = {
      isTerminal: true,
      columns: 80,
      ...(screen && { screen: screen as unknown as BarStream }),
    }
    const { withStore } = await groot(line, { terminal })
    return withStore(CREATE as never)
  }

  it('draws on a terminal, and leaves it with lines only', async () => {
    const screen = new Terminal()
    await run('create image id', screen)
    expect(screen.written).toContain('0 of 1 layer')
    expect(screen.shown).toEqual([
      'groot: warning: odd',
      expect.stringMatching(/^groot: Layer sha256:1+/),
      expect.stringMatching(/^groot: Cannot finish create/),
    ])
  })

  it.each(['--log-level warn', '--log-format json', '--quiet'])('draws nothing with %s', async (option) => {
    const screen = new Terminal()
    const { stderr } = await run(`create ${option} image id`, screen)
    expect(screen.written).toBe('')
    expect(stderr).toContain('Cannot finish create')
  })

  it('tells nothing but errors with --quiet', async () => {
    const { stderr } = await run('create --quiet --log-level debug image id', null)
    expect(stderr.split('\n')).toEqual([expect.stringMatching(/^groot: Cannot finish create/), ''])
  })
})
