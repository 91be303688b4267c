/**
 * The program of the machines: runs groups of checks and reports each.
 *
 *   node main.js REPORT_PORT GROUP…
 */
import { openSync, readFileSync, writeSync } from 'node:fs'
import type { ReportLine } from '../machine/report.js'
import type { Guest } from './check.js'
import { GROUPS, isGroup } from './groups.js'

const MOST_DETAIL = 6000 // characters: an error with its causes

const [port, ...groups] = process.argv.slice(2)
const report = openSync(port!, 'w')
const guest: Guest = { data: '/data', other: '/other', filesystem: filesystemAt('/data') }

for (const group of groups) {
  if (!isGroup(group)) throw new Error(`There is no group of checks "${group}"`)
  for (const [name, check] of Object.entries(GROUPS[group])) {
    const started = performance.now()
    const detail = await run(() => check(guest))
    const milliseconds = Math.round(performance.now() - started)
    tell({ kind: 'check', group, name, passed: detail === null, detail: detail ?? '', milliseconds })
  }
}

/** Why it failed; null when it did not. */
async function run(check: () => void | Promise<void>): Promise<string | null> {
  try {
    await check()
    return null
  } catch (error) {
    return described(error).slice(0, MOST_DETAIL)
  }
}

function described(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const { code, facts } = error as { code?: unknown; facts?: unknown }
  const more = [code, facts && JSON.stringify(facts)].filter((part) => part !== undefined).join(' ')
  const cause = error.cause === undefined ? '' : `\ncaused by: ${described(error.cause)}`
  return `${error.stack ?? error.message}${more === '' ? '' : `\n${more}`}${cause}`
}

function tell(line: ReportLine): void {
  const bytes = Buffer.from(`${JSON.stringify(line)}\n`)
  for (let at = 0; at < bytes.length; ) at += writeSync(report, bytes, at)
}

/** mountinfo(5): the fields after the hyphen begin with the type. */
function filesystemAt(path: string): string {
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8').split('\n')
  const fields = mounts.map((line) => line.split(' ')).findLast((words) => words[4] === path)
  return fields?.[fields.indexOf('-') + 1] ?? 'none'
}
