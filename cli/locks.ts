/**
 * groot locks: prints who holds which lock, and since when.
 */
import type { HeldLock } from '../lib/index.js'
import { jsonLine, visible } from './text.js'
import { answer, callOptions, type Verb, withExistingStore } from './verb.js'

export const locks: Verb = async (context) => {
  const held = (await withExistingStore(context, (store) => store.locks(callOptions(context)))) ?? []
  if (!context.options.json) return answer(held.map((each) => `${line(each)}\n`).join(''))
  const documents = held.map(({ lock, pid, command, since }) => ({ lock, pid, command, since }))
  return answer(`${jsonLine(documents)}\n`)
}

function line({ lock, pid, command, since }: HeldLock): string {
  const holder = pid === null ? 'held' : `held by process ${pid} (${command}) since ${since}`
  return visible(`${lock} ${holder}`)
}
