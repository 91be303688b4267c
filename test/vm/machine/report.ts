/**
 * What a machine tells the host: one JSON object a line, on a port of its own, so that kernel messages cannot come
 * between.
 *
 * The guest writes, the host reads; both use these types.
 */

/** Name of the virtio port that the guest writes to. */
export const REPORT_PORT = 'groot.report'

export type ReportLine =
  /** The system's init has begun. */
  | { readonly kind: 'up'; readonly release: string }
  | CheckLine
  /** The guest program ended with this status. */
  | { readonly kind: 'ended'; readonly status: number }
  /** The machine could not be brought up. */
  | { readonly kind: 'broken'; readonly why: string }

export interface CheckLine {
  readonly kind: 'check'
  readonly group: string
  readonly name: string
  readonly passed: boolean
  /** Why it failed; empty when it passed. */
  readonly detail: string
  readonly milliseconds: number
}

/** How a run of a machine ended. */
export type End =
  | { readonly kind: 'ended'; readonly status: number }
  | { readonly kind: 'broken'; readonly why: string }
  /** The kernel went down before the guest program's end was told, or qemu itself crashed. */
  | { readonly kind: 'lost'; readonly status: string; readonly emulatorCrashed: boolean }
  | { readonly kind: 'out-of-time'; readonly seconds: number }

export interface Report {
  /** Release of the kernel; null when the machine did not come up. */
  readonly release: string | null
  readonly checks: readonly CheckLine[]
  readonly end: End
  /** What the serial console showed: kernel messages, and what the guest program printed. */
  readonly console: string
  readonly seconds: number
}

export type CheckOutcome =
  | { readonly passed: true; readonly milliseconds: number }
  | { readonly passed: false; readonly why: string }

/**
 * What became of one check. One without a line failed: the machine did not come to it, or did not survive it.
 */
export function outcomeOf(report: Report, group: string, name: string): CheckOutcome {
  const line = report.checks.find((each) => each.group === group && each.name === name)
  if (line?.passed) return { passed: true, milliseconds: line.milliseconds }
  if (line !== undefined) return { passed: false, why: line.detail }
  const last = report.checks.at(-1)
  const after = last === undefined ? 'before the first check' : `after the check "${last.name}"`
  return {
    passed: false,
    why: `The machine did not report this check: ${describeEnd(report.end)}, ${after}.\nLast of its console:\n${lastLines(report.console, 100)}`,
  }
}

export function describeEnd(end: End): string {
  switch (end.kind) {
    case 'ended':
      return `the guest program ended with status ${end.status}`
    case 'broken':
      return `it could not be brought up: ${end.why}`
    case 'lost':
      return `it went down (qemu: ${end.status})`
    case 'out-of-time':
      return `it had not ended after ${end.seconds} seconds`
    default:
      return end satisfies never
  }
}

/**
 * Reads one line of a report.
 *
 * @throws {Error} when it is none: then the guest and the host do not belong together
 */
export function parseLine(text: string): ReportLine {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    value = null
  }
  const kind = (value as { kind?: unknown } | null)?.kind
  if (kind === 'up' || kind === 'check' || kind === 'ended' || kind === 'broken') return value as ReportLine
  throw new Error(
    `Cannot read the machine's report: ${JSON.stringify(text.slice(0, 200))} is not a line of one`,
  )
}

function lastLines(text: string, count: number): string {
  return text.replaceAll('\r', '').trimEnd().split('\n').slice(-count).join('\n')
}
