/**
 * Whether a cold create blocks the event loop of the program that asks for it. Run as `node event-loop.js STORE IMAGE`;
 * prints one line of JSON with times in milliseconds.
 *
 * Two watches: Node's histogram of timer delays, and the gaps between turns of the loop, each turn asking for the next.
 */
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { openStore } from '../lib/index.js'

const [path, image] = process.argv.slice(2)
if (path === undefined || image === undefined) throw new Error('Usage: event-loop.js STORE IMAGE')

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
const { longestMs, count } = turns.stop()
console.log(
  JSON.stringify({ wallMs, turns: count, longestTurnMs: longestMs, longestDelayMs: delays.max / 1e6 }),
)

interface Turns {
  stop(): { readonly longestMs: number; readonly count: number }
}

function watchTurns(): Turns {
  let [last, longestMs, count, isOver] = [performance.now(), 0, 0, false]
  const turn = () => {
    const now = performance.now()
    longestMs = Math.max(longestMs, now - last)
    last = now
    count++
    if (!isOver) setImmediate(turn)
  }
  setImmediate(turn)
  return {
    stop() {
      isOver = true
      return { longestMs, count }
    },
  }
}
