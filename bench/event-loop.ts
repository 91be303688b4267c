/**
 * Whether a cold create blocks the event loop of the program that asks for it. Run as `node event-loop.js STORE IMAGE`;
 * prints one line of JSON with times in milliseconds.
 *
 * Two watches: Node's histogram of timer delays, and the gaps between turns of the loop, each turn asking for the next in
 * a millisecond (a loop that never rests would take a processor from the work that it watches). Of a gap, the time that the
 * thread wanted to run and had no processor is told apart: on a busy machine that is not ours.
 */
import { openSync, readSync } from 'node:fs'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { openStore } from '../lib/index.js'

const [path, image] = process.argv.slice(2)
if (path === undefined || image === undefined) throw new Error('Usage: event-loop.js STORE IMAGE')

const schedstat = openSchedstat()
const buffer = Buffer.alloc(256)
// Only what the store does is watched, not the start of this program.
await new Promise((resolve) => setTimeout(resolve, 500))
const delays = monitorEventLoopDelay({ resolution: 1 })
const turns = watchTurns()
delays.enable()
const begun = performance.now()

const store = await openStore({ path })
await store.create({ image, id: 'watched' })
await store.close()

const wallMs = performance.now() - begun
delays.disable()
const watched = turns.stop()
const results = { wallMs, ...watched, longestDelayMs: delays.max / 1e6 }
console.log(
  JSON.stringify(results, (_, value) => (typeof value === 'number' ? Number(value.toFixed(1)) : value)),
)

interface Turns {
  readonly turns: number
  /** Longest time between two turns. */
  readonly longestTurnMs: number
  /** The same without the time that the thread waited for a processor. */
  readonly longestBlockMs: number
  /** Most that the thread computed between two turns. */
  readonly longestWorkMs: number
}

function watchTurns(): { stop(): Turns } {
  let [last, count, isOver] = [now(), 0, false]
  let [longestTurnMs, longestBlockMs, longestWorkMs] = [0, 0, 0]
  const turn = () => {
    const next = now()
    const gap = next.wallMs - last.wallMs
    longestTurnMs = Math.max(longestTurnMs, gap)
    longestBlockMs = Math.max(longestBlockMs, gap - (next.waitedMs - last.waitedMs))
    longestWorkMs = Math.max(longestWorkMs, next.workedMs - last.workedMs)
    last = next
    count++
    if (!isOver) setTimeout(turn, 1)
  }
  setTimeout(turn, 1)
  return {
    stop() {
      isOver = true
      return { turns: count, longestTurnMs, longestBlockMs, longestWorkMs }
    },
  }
}

/** Of the main thread since it began: `waitedMs` is the time that it was ready and had no processor. 0 where not told. */
function now(): { readonly wallMs: number; readonly workedMs: number; readonly waitedMs: number } {
  const wallMs = performance.now()
  if (schedstat === null) return { wallMs, workedMs: 0, waitedMs: 0 }
  const length = readSync(schedstat, buffer, 0, buffer.length, 0)
  const [worked, waited] = buffer.toString('latin1', 0, length).split(' ').map(Number) as [number, number]
  return { wallMs, workedMs: worked / 1e6, waitedMs: waited / 1e6 }
}

function openSchedstat(): number | null {
  try {
    return openSync('/proc/self/schedstat', 'r')
  } catch {
    return null
  }
}
