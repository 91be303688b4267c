/**
 * What peers.ts found, as it is written to a file and read again, and as tables. Every sample is kept; tables show medians.
 */
import { readFileSync } from 'node:fs'
import { median, type Sample } from './measure.js'
import { markdown } from './table.js'

/** Commands: what they took. */
export interface TimedRow {
  /** `cold create` */
  readonly row: string
  /** Of which image, or of what. */
  readonly of: string
  readonly tool: string
  readonly samples: readonly Sample[]
}

/** All that is not the time of a command. */
export interface ValueRow {
  readonly row: string
  readonly of: string
  readonly tool: string
  readonly unit: Unit
  readonly values: readonly number[]
}

export type Unit = 'ms' | 'bytes' | '1/s'

export interface ToolNote {
  readonly name: string
  readonly isGroot: boolean
  readonly version: string
  readonly about: string
}

/** What could not be measured. */
export interface LeftOut {
  readonly tool: string
  readonly what: string
  readonly reason: string
}

export interface PeersDocument {
  /** RFC 3339 */
  readonly when: string
  /** Whole ones. */
  readonly rounds: number
  readonly machine: {
    readonly processor: string
    readonly processors: number
    readonly memoryBytes: number
    readonly kernel: string
    readonly node: string
    readonly filesystem: string
  }
  readonly tools: readonly ToolNote[]
  readonly times: readonly TimedRow[]
  readonly values: readonly ValueRow[]
  readonly leftOut: readonly LeftOut[]
}

export function readPeersDocument(path: string): PeersDocument {
  const read = JSON.parse(readFileSync(path, 'utf8')) as Partial<PeersDocument>
  for (const key of ['when', 'rounds', 'machine', 'tools', 'times', 'values'] as const) {
    if (read[key] === undefined)
      throw new Error(`Cannot read figures from "${path}": there is no "${key}" in it`)
  }
  return read as PeersDocument
}

/** Gathers samples of all rounds, rows in the order of their first sample. */
export class Results {
  readonly #times = new Map<string, { row: string; of: string; tool: string; samples: Sample[] }>()
  readonly #values = new Map<
    string,
    { row: string; of: string; tool: string; unit: Unit; values: number[] }
  >()
  readonly leftOut: LeftOut[] = []

  get times(): readonly TimedRow[] {
    return [...this.#times.values()]
  }

  get values(): readonly ValueRow[] {
    return [...this.#values.values()]
  }

  time(row: string, of: string, tool: string, sample: Sample): void {
    const key = JSON.stringify([row, of, tool])
    const entry = this.#times.get(key) ?? { row, of, tool, samples: [] }
    this.#times.set(key, entry)
    entry.samples.push(sample)
  }

  value(row: string, of: string, tool: string, unit: Unit, value: number): void {
    const key = JSON.stringify([row, of, tool])
    const entry = this.#values.get(key) ?? { row, of, tool, unit, values: [] }
    this.#values.set(key, entry)
    entry.values.push(value)
  }
}

/** What a row takes until its result is on the disk. */
export function syncedSeconds({ wallSeconds, syncSeconds }: Sample): number {
  return wallSeconds + syncSeconds
}

export function medianOf(samples: readonly Sample[], value: (sample: Sample) => number): number {
  return median(samples.map(value))
}

/** A table for each kind of row, under its name; tools of one image side by side. */
export function peersTables({ times, values, tools }: PeersDocument): string {
  const names = tools.map(({ name }) => name)
  const parts = [...new Set(times.map(({ row }) => row))].map((row) => {
    const rows = times.filter((each) => each.row === row)
    return `## ${row}\n\n${timesTable(rows, names)}`
  })
  if (values.length > 0) parts.push(`## other figures\n\n${valuesTable(values)}`)
  return parts.join('\n\n')
}

function timesTable(rows: readonly TimedRow[], tools: readonly string[]): string {
  const header = ['of', 'tool', 'wall s', 'wall + sync s', 'CPU s', 'peak MB', 'written MB']
  const lines = grouped(rows, tools).map(({ of, tool, samples }) => [
    of,
    tool,
    seconds(medianOf(samples, ({ wallSeconds }) => wallSeconds)),
    seconds(medianOf(samples, syncedSeconds)),
    seconds(medianOf(samples, ({ cpuSeconds }) => cpuSeconds)),
    megabytes(medianOf(samples, ({ peakBytes }) => peakBytes)),
    megabytes(medianOf(samples, ({ writtenBytes }) => writtenBytes ?? Number.NaN)),
  ])
  return markdown(header, lines)
}

function valuesTable(rows: readonly ValueRow[]): string {
  const lines = rows.map(({ row, of, tool, unit, values }) => [
    row,
    [of, tool].filter((text) => text !== '').join(', '),
    inUnit(median(values), unit),
  ])
  return markdown(['figure', 'of', ''], lines)
}

/** Rows of the same image together, in the order that each image came first, and in them the tools as they are listed. */
function grouped(rows: readonly TimedRow[], tools: readonly string[]): readonly TimedRow[] {
  const order = [...new Set(rows.map(({ of }) => of))]
  const rank = ({ of, tool }: TimedRow) => order.indexOf(of) * (tools.length + 1) + tools.indexOf(tool)
  return [...rows].sort((a, b) => rank(a) - rank(b))
}

export function seconds(value: number): string {
  return value < 1 ? value.toFixed(3) : value.toFixed(2)
}

function megabytes(bytes: number): string {
  return Number.isNaN(bytes) ? '' : (bytes / 1e6).toFixed(bytes < 10e6 ? 1 : 0)
}

function inUnit(value: number, unit: Unit): string {
  switch (unit) {
    case 'ms':
      return `${value.toFixed(2)} ms`
    case 'bytes':
      return value < 1e6 ? `${(value / 1e3).toFixed(1)} kB` : `${(value / 1e6).toFixed(1)} MB`
    case '1/s':
      return `${value.toFixed(0)} /s`
    default:
      return unit satisfies never
  }
}
