/**
 * Draws the latencies that overlay.ts wrote as an SVG: `node dist/bench/chart.js FIGURES.json CHART.svg`.
 */
import { readFileSync, writeFileSync } from 'node:fs'

interface Latency {
  readonly what: string
  readonly createP50: number
  readonly deleteP50: number
}

const SERIES = [
  { name: 'create', of: (row: Latency) => row.createP50, colour: '#2f6f9f' },
  { name: 'delete', of: (row: Latency) => row.deleteP50, colour: '#c98a2b' },
] as const
const WIDTH = 720
const ROW_HEIGHT = 44
const BAR_HEIGHT = 16
const LEFT = 190
const TOP = 48

/** Horizontal bars, one pair a row, all to one scale in milliseconds. */
function chartOf(rows: readonly Latency[]): string {
  const most = Math.max(...rows.flatMap((row) => SERIES.map(({ of }) => of(row))))
  const scale = (WIDTH - LEFT - 80) / most
  const height = TOP + rows.length * ROW_HEIGHT + 16
  const bars = rows.flatMap((row, index) => {
    const y = TOP + index * ROW_HEIGHT
    return [
      text(LEFT - 8, y + 22, row.what, 'end'),
      ...SERIES.flatMap(({ of, colour }, i) => {
        const at = y + i * BAR_HEIGHT
        const width = (of(row) * scale).toFixed(1)
        return [
          `<rect x="${LEFT}" y="${at}" width="${width}" height="${BAR_HEIGHT - 2}" fill="${colour}"/>`,
          text(LEFT + of(row) * scale + 6, at + 12, `${of(row).toFixed(2)} ms`, 'start'),
        ]
      }),
    ]
  })
  const legend = SERIES.map(({ name, colour }, i) => {
    const x = LEFT + i * 110
    return `<rect x="${x}" y="14" width="12" height="12" fill="${colour}"/>${text(x + 18, 24, `${name}, p50`, 'start')}`
  })
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" font-family="sans-serif" font-size="12">
<rect width="${WIDTH}" height="${height}" fill="#ffffff"/>
${[...legend, ...bars].join('\n')}
</svg>
`
}

function text(x: number, y: number, words: string, anchor: 'start' | 'end'): string {
  const safe = words.replace(/[&<>]/g, (sign) => `&#${sign.charCodeAt(0)};`)
  return `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" text-anchor="${anchor}" fill="#222222">${safe}</text>`
}

const [figures, chart] = process.argv.slice(2)
if (figures === undefined || chart === undefined) throw new Error('usage: chart FIGURES.json CHART.svg')
const { latencies } = JSON.parse(readFileSync(figures, 'utf8')) as { readonly latencies: readonly Latency[] }
writeFileSync(chart, chartOf(latencies))
