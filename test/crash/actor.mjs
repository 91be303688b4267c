/**
 * The process that the crash suite kills: opens nothing and says so, then carries out one call after another, as told line
 * by line. Runs what `npm run build` made. What it finds wrong it answers as groot's error, with its code.
 */
import { createInterface } from 'node:readline'
import { initStore, openStore } from '../../dist/lib/index.js'

const [path, driver] = process.argv.slice(2)
let store = null

const verbs = {
  init: () => initStore({ path, driver }),
  open: async () => {
    store = await openStore({ path, driver, thread: 'caller' })
  },
  create: (request) => store.create(request),
  pull: (request) => store.pull(request),
  delete: (id) => store.delete(id),
  clean: (request) => store.clean(request),
  check: (options) => store.check(options),
  list: () => store.list(),
  stats: (id) => store.stats(id),
  memory: () => process.memoryUsage().rss,
}

const say = (value) => process.stdout.write(`${JSON.stringify(value ?? null)}\n`)

say('ready')
for await (const line of createInterface({ input: process.stdin })) {
  const { verb, args } = JSON.parse(line)
  try {
    say({ ok: true, value: (await verbs[verb](...args)) ?? null })
  } catch (error) {
    const { code, kind, message, facts, stack } = error
    say({ ok: false, error: { code, kind: kind ?? 'none', message, facts, stack } })
  }
}
await store?.close()
