/**
 * Where the program is that runs groot: drivers may be installed beside it. Never the working directory, which may be
 * anybody's.
 */
import { readlinkSync, realpathSync } from 'node:fs'
import { dirname, isAbsolute, resolve } from 'node:path'

/** Options of Node with which an argument of the code stands where the program's file would. */
const EVALUATES = /^(-e|-p|-pe|--eval|--print)(=|$)/
const MAX_LINKS = 40 // as in the kernel

/** The file that this thread was started with, as it was named; null when there is none, as with `node --eval`. */
export function programFile(): string | null {
  const file = process.argv[1]
  if (file === undefined || process.execArgv.some((word) => EVALUATES.test(word))) return null
  // Node makes the path of a program absolute; what is not is the name of something else.
  return isAbsolute(file) ? file : null
}

/**
 * The paths of a program: as it was named, each that a symlink leads on to, and the real one. npm makes a symlink to a
 * command beside `node_modules`, and in there one to a package that is a checkout; its drivers are beside any of them.
 */
export function pathsOfProgram(file: string): readonly string[] {
  const paths = new Set([file])
  try {
    for (let path = file; paths.size < MAX_LINKS; paths.add(path)) {
      path = resolve(realpathSync(dirname(path)), readlinkSync(path))
    }
  } catch {
    // It is no symlink, or not there any more: that is all of them.
  }
  try {
    paths.add(realpathSync(file))
  } catch {
    // Node runs `program.js` as `program` too, and a program may be gone while it runs.
  }
  return [...paths]
}
