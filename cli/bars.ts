/**
 * Bars: progress drawn on a terminal, below the lines of the log. A bar for all that is on its way, and one for each layer
 * that is being read; for check and clean one.
 *
 * Drawing is cli-progress's, loaded when there is something to draw. What is drawn is gone when the work is done: the lines
 * of the log stay.
 */
import { createRequire } from 'node:module'
import type { MultiBar, SingleBar } from 'cli-progress'
import type { GrootEvent } from '../lib/index.js'
import { counted, humanBytes, visible } from './text.js'

/** A terminal as far as it is drawn on: a stream like process.stderr. */
export type BarStream = NodeJS.WritableStream & { readonly isTTY?: boolean; readonly columns?: number }

export interface Bars {
  /** Whether bars are on the screen now, so that lines about progress would say it twice. */
  readonly isDrawing: boolean
  event(event: GrootEvent): void
  /** Writes whole lines above the bars. */
  write(lines: string): void
  /** Takes the bars away for good. */
  stop(): void
}

type Library = typeof import('cli-progress')

const FPS = 8
const BAR_COLUMNS = 24
const LABEL_COLUMNS = 16

/**
 * @param load gives the library that draws; where it cannot be loaded there are no bars
 * @param now milliseconds of a clock that only goes forward
 */
export function createBars(
  stream: BarStream,
  now: () => number,
  load: () => Promise<Library> = async () => createRequire(import.meta.url)('cli-progress') as Library,
): Bars {
  const screen = new Screen(stream, load)
  const layers = new LayerBars(screen, now)
  return {
    get isDrawing() {
      return screen.isDrawing
    },
    event: (event) => {
      switch (event.kind) {
        case 'check-progress':
          return screen.draw('work', event.of, event.checked, {
            label: 'checked',
            amount: of(event.checked, event.of),
          })
        case 'clean-progress':
          return screen.draw('work', event.of, event.removed, {
            label: 'objects removed',
            amount: of(event.removed, event.of),
          })
        default:
          layers.event(event)
      }
    },
    write: (lines) => screen.write(lines),
    stop: () => screen.stop(),
  }
}

function of(done: number, all: number): string {
  return `${done} of ${all}`
}

interface Layer {
  readonly of: number
  readonly bytes: number
  readonly state: 'queued' | 'reading' | 'done'
}

/** What is known of the layers of one command. */
class LayerBars {
  readonly #screen: Screen
  readonly #now: () => number
  readonly #layers = new Map<string, Layer>()
  #startedAt: number | null = null

  constructor(screen: Screen, now: () => number) {
    this.#screen = screen
    this.#now = now
  }

  event(event: GrootEvent): void {
    switch (event.kind) {
      case 'layer-queued':
        return void this.#layers.set(event.diffId, { of: event.bytes, bytes: 0, state: 'queued' })
      // Anew, too: what was read before does not count when a layer is asked for elsewhere.
      case 'layer-start':
        this.#startedAt ??= this.#now()
        return this.#reading(event.diffId, 0, event.bytes)
      case 'layer-progress':
        return this.#reading(event.diffId, event.bytes, event.of)
      case 'layer-done':
        return this.#done(event.diffId)
      case 'layer-known':
        // Another process brought it.
        return this.#layers.delete(event.diffId) ? this.#update() : undefined
      default:
    }
  }

  #reading(diffId: string, bytes: number, all: number): void {
    this.#layers.set(diffId, { of: all, bytes, state: 'reading' })
    this.#update()
    const name = diffId.slice(diffId.indexOf(':') + 1, diffId.indexOf(':') + 13)
    const amount = of2(bytes, all)
    this.#screen.draw(diffId, all, bytes, { label: `  ${visible(name)}`, amount })
  }

  #done(diffId: string): void {
    const layer = this.#layers.get(diffId)
    if (layer !== undefined) this.#layers.set(diffId, { ...layer, bytes: layer.of, state: 'done' })
    this.#screen.erase(diffId)
    this.#update()
  }

  #update(): void {
    const layers = [...this.#layers.values()]
    const all = layers.reduce((sum, layer) => sum + layer.of, 0)
    const bytes = layers.reduce((sum, layer) => sum + layer.bytes, 0)
    const done = layers.filter(({ state }) => state === 'done').length
    // What comes next (merging, writing) has no bars.
    if (done === layers.length) return this.#screen.clear()
    const seconds = (this.#now() - (this.#startedAt ?? this.#now())) / 1000
    const speed = seconds < 1 ? '' : `, ${humanBytes(Math.round(bytes / seconds))}/s`
    const label = `${done} of ${counted(layers.length, 'layer')}`
    this.#screen.draw('all', all, bytes, { label, amount: `${of2(bytes, all)}${speed}` })
  }
}

function of2(bytes: number, all: number): string {
  return `${humanBytes(bytes)} of ${humanBytes(all)}`
}

interface Shown {
  readonly label: string
  readonly amount: string
}

/** The part of the terminal that is drawn on: bars by name, in the order of their first drawing. */
class Screen {
  readonly #stream: BarStream
  readonly #load: () => Promise<Library>
  #library: Library | 'none' | 'unasked' | 'loading' = 'unasked'
  #multi: MultiBar | null = null
  readonly #bars = new Map<string, SingleBar>()
  #pending = ''

  constructor(stream: BarStream, load: () => Promise<Library>) {
    this.#stream = stream
    this.#load = load
  }

  get isDrawing(): boolean {
    return this.#bars.size > 0
  }

  draw(name: string, all: number, done: number, { label, amount }: Shown): void {
    const payload = { label: label.padEnd(LABEL_COLUMNS), amount }
    const bar = this.#bars.get(name)
    if (bar !== undefined) {
      bar.setTotal(all)
      return void bar.update(done, payload)
    }
    if (typeof this.#library !== 'object') return this.#ask()
    this.#multi ??= this.#open(this.#library)
    this.#bars.set(name, this.#multi.create(all, done, payload))
  }

  erase(name: string): void {
    const bar = this.#bars.get(name)
    if (bar === undefined) return
    this.#bars.delete(name)
    this.#multi?.remove(bar)
  }

  write(lines: string): void {
    if (this.#multi === null) return void this.#stream.write(lines)
    this.#pending += lines
    this.#multi.update()
  }

  /** Takes all bars away; the next drawing begins anew. */
  clear(): void {
    this.#multi?.stop()
    this.#multi = null
    this.#bars.clear()
    if (this.#pending !== '') this.#stream.write(this.#pending)
    this.#pending = ''
  }

  stop(): void {
    this.#library = 'none'
    this.clear()
  }

  #open(library: Library): MultiBar {
    const multi = new library.MultiBar({
      stream: this.#stream,
      fps: FPS,
      format: '{label} [{bar}] {percentage}%  {amount}',
      barsize: BAR_COLUMNS,
      // Not every terminal knows more than ASCII.
      barCompleteChar: '=',
      barIncompleteChar: ' ',
      clearOnComplete: true,
      emptyOnZero: true,
      // All is drawn each time, as lines of the log go where bars were.
      forceRedraw: true,
      // Lines of the log are longer than a terminal is wide, and have to be readable.
      linewrap: true,
      hideCursor: false,
      // Signals are for the command: the library would stop at the first one, but not the work.
      gracefulExit: false,
    })
    multi.on('redraw-pre', () => {
      this.#stream.write(`${CLEAR_BELOW}${this.#pending}`)
      this.#pending = ''
    })
    return multi
  }

  #ask(): void {
    if (this.#library !== 'unasked') return
    this.#library = 'loading'
    this.#load().then(
      (library) => {
        if (this.#library === 'loading') this.#library = library
      },
      () => {
        // Then the log tells of progress by lines.
        this.#library = 'none'
      },
    )
  }
}

const CLEAR_BELOW = '\x1b[J'
