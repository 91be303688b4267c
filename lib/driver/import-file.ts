/**
 * The only dynamic import of what is not ours. It is a file for itself also when it is put together with the rest (.bundle.js):
 * code that V8 compiled in an earlier run cannot import.
 */
import { pathToFileURL } from 'node:url'

/** Imports a file, which may be a module of either kind. */
export function importFile(path: string): Promise<unknown> {
  return import(pathToFileURL(path).href)
}
