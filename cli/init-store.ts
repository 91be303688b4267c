/**
 * groot init-store: makes a store and prints its path.
 */
import { mappingRequest } from './mapping.js'
import { jsonLine } from './text.js'
import { answer, type Verb } from './verb.js'

export const initStore: Verb = async ({ options, settings, library, log }) => {
  const { path, driver, id, notes } = await library.initStore({
    path: settings.store,
    ...(settings.driver === undefined ? {} : { driver: settings.driver }),
    ...mappingRequest(options),
    ...(options['no-sync'] ? { noSync: true } : {}),
    ...(options.filesystem === undefined ? {} : { filesystem: options.filesystem }),
    ...(options['store-size-bytes'] === undefined ? {} : { storeSizeBytes: options['store-size-bytes'] }),
    ...(settings.backingFile === undefined ? {} : { backingFile: settings.backingFile }),
    ...(options.verity === undefined ? {} : { driverOptions: { verity: options.verity } }),
  })
  for (const message of notes) log.note('info', { code: 'driver-note', message, facts: { driver } })
  return answer(`${options.json ? jsonLine({ path, driver, id, notes }) : path}\n`)
}
