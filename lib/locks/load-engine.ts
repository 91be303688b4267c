/**
 * A copy of proper-lockfile that nobody else has, with stand-ins for the two modules that change the process.
 *
 * As it comes, the library hooks itself into the process: through signal-exit with handlers for all signals that end a
 * process and wrappers around process.emit and process.reallyExit, through graceful-fs with a cache around process.cwd.
 * With them a busy process no longer dies of SIGTERM. A library must not do that to its host, and nothing here needs it:
 * the kernel frees locks at any death. The host's own copies are not touched.
 *
 * What runs has the same put together with the rest (.bundle.js), which is faster to load.
 */
import fs from 'node:fs'
import { createRequire, Module } from 'node:module'
import { dirname, sep } from 'node:path'
import type * as properLockfile from 'proper-lockfile'

export type Engine = typeof properLockfile

/** Loads the copy. */
export function loadEngine(): Engine {
  const require = createRequire(import.meta.url)
  const entry = require.resolve('proper-lockfile')
  const inside = createRequire(entry)
  const standIns = new Map<string, unknown>([
    [inside.resolve('graceful-fs'), fs],
    [inside.resolve('signal-exit'), () => () => undefined],
  ])
  const { cache } = require
  const isOurs = (path: string): boolean => standIns.has(path) || path.startsWith(dirname(entry) + sep)
  const before = Object.entries(cache).filter(([path]) => isOurs(path))
  const clear = (): void => {
    for (const path of Object.keys(cache)) if (isOurs(path)) delete cache[path]
  }
  clear()
  try {
    for (const [path, exports] of standIns)
      cache[path] = Object.assign(new Module(path), { exports, loaded: true })
    return inside(entry) as Engine
  } finally {
    clear()
    Object.assign(cache, Object.fromEntries(before))
  }
}
