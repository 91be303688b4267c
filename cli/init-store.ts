/**
 * groot init-store: makes a store and prints its path.
 */
import { jsonLine } from './text.js'
import { answer, type Verb } from './verb.js'

export const initStore: Verb = async ({ options, settings, library, log }) => {
  const { path, driver, id, notes } = await library.initStore({
    path: settings.store,
    ...(settings.driver === undefined ? {} : { driver: settings.driver }),
    ...(options.verity === undefined ? {} : { driverOptions: { verity: options.verity } }),
  })
  for (const message of notes) log.note('info', { code: 'driver-note', message, facts: { driver } })
  return answer(`${options.json ? jsonLine({ path, driver, id, notes }) : path}\n`)
}
