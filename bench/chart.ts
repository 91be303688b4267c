/**
 * Draws what growth.ts wrote as an SVG: `node dist/bench/chart.js FIGURES.json CHART.svg`.
 *
 * A column for each dimension; above what a warm create and a delete take, below a cold create. Counts are on logarithmic
 * scales; times above are not, so that what is flat looks flat, and those below are, so that what grows as its work does is
 * a straight line.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import type { Dimension, GrowthPoint } from './growth.js'

const ABOUT: Record<Dimension, string> = {
  files: 'files in the image',
  layers: 'layers of the image',
  bundles: 'other bundles',
  objects: 'objects of other images',
}
const CREATE = '#2f6f9f'
const DELETE = '#c98a2b'
const COLD = '#4b7f52'
const WIDTH = 230
const HEIGHT = 150
const LEFT = 64
const TOP = 56
const GAP_X = 30
const GAP_Y = 64
const INK = '#222222'
const GRID = '#dddddd'

interface Scale {
  /** 0 to 1. */
  at(value: number): number
  readonly ticks: readonly number[]
}

interface Series {
  readonly colour: string
  of(point: GrowthPoint): number
}

interface Panel {
  readonly x: number
  readonly y: number
  readonly points: readonly GrowthPoint[]
  readonly series: readonly Series[]
  readonly scale: Scale
  readonly hasLabels: boolean
}

function chartOf(points: readonly GrowthPoint[]): string {
  const dimensions = (Object.keys(ABOUT) as Dimension[]).filter((name) =>
    points.some(({ dimension }) => dimension === name),
  )
  const warm: Series[] = [
    { colour: CREATE, of: ({ createP50 }) => createP50 },
    { colour: DELETE, of: ({ deleteP50 }) => deleteP50 },
  ]
  const cold: Series[] = [{ colour: COLD, of: ({ coldCreate }) => coldCreate }]
  const warmScale = linearScale(points.flatMap((point) => warm.map(({ of }) => of(point))))
  const coldScale = logScale(points.map(({ coldCreate }) => coldCreate))
  const panels = dimensions.flatMap((name, i) => {
    const mine = points.filter(({ dimension }) => dimension === name)
    const common = { x: LEFT + i * (WIDTH + GAP_X), points: mine, hasLabels: i === 0 }
    return [
      panelOf({ ...common, y: TOP, series: warm, scale: warmScale }),
      panelOf({ ...common, y: TOP + HEIGHT + GAP_Y, series: cold, scale: coldScale }),
      text(common.x + WIDTH / 2, TOP + 2 * HEIGHT + GAP_Y + 38, ABOUT[name], 'middle'),
    ]
  })
  const width = LEFT + dimensions.length * (WIDTH + GAP_X)
  const height = TOP + 2 * HEIGHT + GAP_Y + 54
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" font-family="sans-serif" font-size="12">
<title>What creates and deletes take against how much there is</title>
<rect width="${width}" height="${height}" fill="#ffffff"/>
${[...legendOf(TOP - 24, [CREATE, 'warm create by library, ms, median'], [DELETE, 'delete by library, ms, median']), ...legendOf(TOP + HEIGHT + GAP_Y - 20, [COLD, 'cold create by library, ms'])].join('\n')}
${panels.join('\n')}
</svg>
`
}

function panelOf({ x, y, points, series, scale, hasLabels }: Panel): string {
  const counts = points.map(({ count }) => Math.log10(Math.max(count, 1)))
  const [least, most] = [Math.min(...counts), Math.max(...counts)]
  const xOf = (index: number) =>
    x + 12 + (most === least ? 0.5 : (counts[index]! - least) / (most - least)) * (WIDTH - 24)
  const yOf = (value: number) => y + HEIGHT - scale.at(value) * HEIGHT
  const grid = scale.ticks.flatMap((tick) => [
    `<line x1="${x}" x2="${x + WIDTH}" y1="${px(yOf(tick))}" y2="${px(yOf(tick))}" stroke="${GRID}"/>`,
    ...(hasLabels ? [text(x - 8, yOf(tick) + 4, tick.toLocaleString('en'), 'end')] : []),
  ])
  const labels = points.map(({ count }, i) =>
    text(xOf(i), y + HEIGHT + 18, count.toLocaleString('en'), 'middle'),
  )
  const lines = series.flatMap(({ colour, of }) => {
    const path = points.map((point, i) => `${px(xOf(i))},${px(yOf(of(point)))}`)
    const dots = path.map((at) => {
      const [cx, cy] = at.split(',')
      return `<circle cx="${cx}" cy="${cy}" r="3.5" fill="${colour}"/>`
    })
    return [`<polyline points="${path.join(' ')}" fill="none" stroke="${colour}" stroke-width="2"/>`, ...dots]
  })
  return [...grid, ...labels, ...lines].join('\n')
}

/** From 0 on. */
function linearScale(values: readonly number[]): Scale {
  const most = Math.max(...values)
  const power = 10 ** Math.floor(Math.log10(most))
  const step = [0.2, 0.5, 1, 2].map((factor) => factor * power).find((each) => most / each <= 6)!
  const top = Math.ceil(most / step) * step
  const ticks = Array.from({ length: Math.round(top / step) + 1 }, (_, i) =>
    Number((i * step).toPrecision(6)),
  )
  return { at: (value) => value / top, ticks }
}

/** Whole powers of ten. */
function logScale(values: readonly number[]): Scale {
  const low = Math.floor(Math.log10(Math.min(...values)))
  const high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(...values))))
  const ticks = Array.from({ length: high - low + 1 }, (_, i) => 10 ** (low + i))
  return { at: (value) => (Math.log10(value) - low) / (high - low), ticks }
}

function legendOf(y: number, ...entries: readonly (readonly [colour: string, words: string])[]): string[] {
  return entries.map(([colour, words], i) => {
    const x = LEFT + i * 250
    return `<rect x="${x}" y="${y}" width="12" height="12" fill="${colour}"/>${text(x + 18, y + 10, words, 'start')}`
  })
}

function text(x: number, y: number, words: string, anchor: 'start' | 'middle' | 'end'): string {
  const safe = words.replace(/[&<>]/g, (sign) => `&#${sign.charCodeAt(0)};`)
  return `<text x="${px(x)}" y="${px(y)}" text-anchor="${anchor}" fill="${INK}">${safe}</text>`
}

function px(value: number): string {
  return value.toFixed(1)
}

const [figures, chart] = process.argv.slice(2)
if (figures === undefined || chart === undefined) throw new Error('usage: chart FIGURES.json CHART.svg')
const { points } = JSON.parse(readFileSync(figures, 'utf8')) as { readonly points?: readonly GrowthPoint[] }
if (points === undefined || points.length === 0)
  throw new Error(`Cannot draw "${figures}": there are no points in it, as growth.js writes them`)
writeFileSync(chart, chartOf(points))
