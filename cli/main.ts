#!/usr/bin/env node
/**
 * The command `groot`: connects a run to its process.
 *
 * This file alone touches the process. It imports nothing of groot before it has looked at the version of Node, because an old
 * one would stop at the first word of the rest that it does not know.
 */
import module from 'node:module'
import { fileURLToPath } from 'node:url'

const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
const isSupported = (major === 20 && minor >= 19) || (major === 22 && minor >= 12) || major >= 24
if (isSupported) {
  keepCompiled()
  import('#command')
    .then(({ runProcess }) => runProcess())
    .catch((error: unknown) => {
      // Only a damaged installation ends here; what is in place tells of everything else itself.
      process.stderr.write(`groot: Cannot start: ${JSON.stringify(String(error))}\n`)
      process.exitCode = 70
    })
} else {
  process.stderr.write(
    `groot: Cannot run with Node.js ${process.versions.node}: it needs 20.19 or later, 22.12 or later, or 24 and above\n`,
  )
  process.exitCode = 19
}

/**
 * Has Node keep what it compiles for the next run, from 22.1 on. What is kept is code that will be run, so it stands where
 * nobody but this user can write: beside the program for root, who may not trust a home, and in the user's cache for others.
 * Where that cannot be written nothing is kept.
 */
function keepCompiled(): void {
  const { HOME = '', XDG_CACHE_HOME = '' } = process.env
  const cache = [XDG_CACHE_HOME, `${HOME}/.cache`].find((path) => path.startsWith('/'))
  const isRoot = process.geteuid?.() === 0
  const own = cache === undefined ? undefined : `${cache}/groot/compiled`
  const place = isRoot ? fileURLToPath(new URL('../compiled', import.meta.url)) : own
  // Unknown to the types of the oldest Node that will do.
  const { enableCompileCache } = module as { enableCompileCache?: (directory: string) => unknown }
  if (place !== undefined) enableCompileCache?.(place)
}
