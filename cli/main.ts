#!/usr/bin/env node
/**
 * The command `groot`: connects a run to its process.
 *
 * This file alone touches the process. It imports nothing before it has looked at the version of Node, because an old one
 * would stop at the first word of the rest that it does not know.
 */

const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
const isSupported = (major === 20 && minor >= 19) || (major === 22 && minor >= 12) || major >= 24
if (isSupported) {
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
