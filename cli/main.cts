#!/usr/bin/env node
/**
 * The command `groot`: connects a run to its process. No ES module: Node starts those 5 ms later.
 *
 * This file alone touches the process. It loads nothing of groot before it has looked at the version of Node, because an old
 * one would stop at the first word of the rest that it does not know.
 */
const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
const isSupported = (major === 20 && minor >= 19) || (major === 22 && minor >= 12) || major >= 24
if (isSupported) {
  try {
    start()
  } catch (error) {
    // Only a damaged installation ends here; what is in place tells of everything else itself.
    process.stderr.write(`groot: Cannot start: ${JSON.stringify(String(error))}\n`)
    process.exitCode = 70
  }
} else {
  process.stderr.write(
    `groot: Cannot run with Node.js ${process.versions.node}: it needs 20.19 or later, 22.12 or later, or 24 and above\n`,
  )
  process.exitCode = 19
}

/** By paths: finding a name of package.json takes Node 2 ms. */
function start(): void {
  const { resolve } = require('node:path') as typeof import('node:path')
  const bundle = resolve(__dirname, '../bundle')
  const { CodeCache } = require(`${bundle}/cli/code-cache.cjs`) as Cache
  const code = new CodeCache(bundle, resolve(__dirname, '../compiled'), process.argv.slice(2))
  const { runProcess } = code.require(`${bundle}/cli/process.cjs`) as Command
  void runProcess((isVerb) => code.keep(isVerb))
}

type Cache = typeof import('./code-cache.js', { with: { 'resolution-mode': 'import' }})
type Command = typeof import('./process.js', { with: { 'resolution-mode': 'import' }})
