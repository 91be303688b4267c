/** Results as markdown. */
import { median, type Sample } from './measure.js'

export interface Measured {
  readonly image: string
  readonly row: string
  readonly samples: readonly Sample[]
}

/** One line a row, medians over the rounds. */
export function timesTable(measured: readonly Measured[]): string {
  const header = ['image', 'step', 'wall s', 'CPU s', 'sync after s', 'peak MB']
  const lines = measured.map(({ image, row, samples }) => [
    image,
    row,
    of(samples, ({ wallSeconds }) => wallSeconds).toFixed(2),
    of(samples, ({ cpuSeconds }) => cpuSeconds).toFixed(2),
    of(samples, ({ syncSeconds }) => syncSeconds).toFixed(2),
    megabytes(of(samples, ({ peakBytes }) => peakBytes)),
  ])
  return markdown(header, lines)
}

export function memoryTable(measured: readonly Measured[]): string {
  const lines = measured.map(({ image, row, samples }) => [
    image,
    row,
    megabytes(Math.max(...samples.map(({ peakBytes }) => peakBytes))),
  ])
  return markdown(['image', 'step', 'peak MB'], lines)
}

export function markdown(header: readonly string[], lines: readonly (readonly string[])[]): string {
  const rows = [header, header.map((_, i) => (i < 2 ? '---' : '---:')), ...lines]
  return rows.map((cells) => `| ${cells.join(' | ')} |`).join('\n')
}

function of(samples: readonly Sample[], value: (sample: Sample) => number): number {
  return median(samples.map(value))
}

function megabytes(bytes: number): string {
  return (bytes / 1e6).toFixed(0)
}
