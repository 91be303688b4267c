/**
 * Puts the figures of a run of peers.ts into a page: `node dist/bench/readme-table.js PEERS.json README.md` replaces what
 * stands between the lines `<!-- figures -->` and `<!-- /figures -->`.
 *
 * groot's own durability is compared with peers that are followed by a sync, groot without syncs with peers as they are.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { median } from './measure.js'
import {
  medianOf,
  type PeersDocument,
  readPeersDocument,
  seconds,
  syncedSeconds,
  type TimedRow,
  type ToolNote,
} from './peers-results.js'
import { markdown } from './table.js'

const BEGIN = '<!-- figures -->'
const END = '<!-- /figures -->'
/** Behind them may stand the Node that ran them, when it was not that of the benchmark. */
const GROOT = 'groot'
const UNSYNCED = 'groot --no-sync'
const DISK = 'near-copies, disk'

interface Value {
  readonly tool: string
  readonly value: number
}

/** One line of the table: what each tool takes, in the two comparisons. */
interface Line {
  readonly title: string
  readonly durable: readonly Value[]
  readonly loose: readonly Value[]
  format(value: number): string
}

function figuresOf(document: PeersDocument): string {
  const names = document.tools.map(({ name }) => name).filter((name) => name.startsWith(`${GROOT} (`))
  const others = names.map((name) => {
    const runtime = name.slice(GROOT.length)
    return `The same run, groot by ${runtime.slice(2, -1)}:\n\n${tableOf(document, runtime)}\n\n`
  })
  return `${tableOf(document, '')}\n\n${others.join('')}${notesOf(document)}`
}

function tableOf(document: PeersDocument, runtime: string): string {
  const header = ['', GROOT, 'fastest peer + sync', 'ratio', UNSYNCED, 'fastest peer', 'ratio']
  return markdown(
    header,
    linesOf(document).map((line) => [
      line.title,
      ...cellsOf(document, line, line.durable, `${GROOT}${runtime}`),
      ...cellsOf(document, line, line.loose, `${UNSYNCED}${runtime}`),
    ]),
  )
}

function linesOf(document: PeersDocument): Line[] {
  const cold = document.times.filter(({ row }) => row === 'cold create')
  const images = [...new Set(cold.map(({ of }) => of))]
  if (images.length === 0) throw missing('cold create')
  const usual = images.includes('debian') ? 'debian' : images[0]!
  // They take as long as all others together, and are not part of each run.
  const copies = document.times.find(({ row }) => row === 'near-copies')
  return [
    ...images.map((image) => timeLine(document, `cold create, \`${image}\``, 'cold create', image)),
    ...(copies === undefined
      ? []
      : [timeLine(document, `${copies.of} one after the other`, 'near-copies', copies.of)]),
    timeLine(document, `warm create, \`${usual}\``, 'warm create', usual),
    timeLine(document, `delete, \`${usual}\``, 'delete', usual),
    ...(copies === undefined ? [] : [diskLine(document, copies.of)]),
  ]
}

function timeLine({ times }: PeersDocument, title: string, row: string, of: string): Line {
  const rows = times.filter((each) => each.row === row && each.of === of)
  const values = (value: (row: TimedRow) => number) =>
    rows.map((each) => ({ tool: each.tool, value: value(each) }))
  const wall = ({ samples }: TimedRow) => medianOf(samples, ({ wallSeconds }) => wallSeconds)
  return {
    title,
    // groot has synced when it ends: what is left is not its result.
    durable: values((each) => (isDurable(each.tool) ? wall(each) : medianOf(each.samples, syncedSeconds))),
    loose: values(wall),
    format: (value) => `${seconds(value)} s`,
  }
}

function isDurable(tool: string): boolean {
  return tool === GROOT || tool.startsWith(`${GROOT} (`)
}

function diskLine({ values }: PeersDocument, of: string): Line {
  const disk = values
    .filter((each) => each.row === DISK && each.of === of)
    .map((each) => ({ tool: each.tool, value: median(each.values) }))
  return {
    title: `disk that the ${of} take`,
    durable: disk,
    loose: disk,
    format: (value) => `${(value / 1e6).toFixed(0)} MB`,
  }
}

/** groot, the peer that takes least, and what part of it groot takes. */
function cellsOf(document: PeersDocument, line: Line, values: readonly Value[], own: string): string[] {
  const ours = values.find(({ tool }) => tool === own)
  if (ours === undefined) throw missing(`${line.title}: ${own}`)
  const peers = values.filter(({ tool }) => !toolOf(document, tool).isGroot)
  if (peers.length === 0) throw missing(`${line.title}: any peer`)
  const best = peers.reduce((least, each) => (each.value < least.value ? each : least))
  const ratio = (ours.value / best.value).toFixed(2)
  return [line.format(ours.value), `${line.format(best.value)} (${best.tool})`, ratio]
}

function notesOf(document: PeersDocument): string {
  const { when, rounds, machine, tools } = document
  const gigabytes = (machine.memoryBytes / 1e9).toFixed(0)
  const where = `${machine.processors} × ${machine.processor}, ${gigabytes} GB, Linux ${machine.kernel}, Node ${machine.node.slice(1)}, ${machine.filesystem}`
  const versions = [...new Set(tools.map(({ version }) => version))].join('; ')
  return `Measured ${when.slice(0, 10)}, medians of ${rounds} interleaved rounds; a ratio below 1 is groot ahead. Images come from a registry on the loopback into an empty storage.
Peers do not sync: when they end, what they made would not survive a power cut. groot waits for the disk unless told not to. So groot is compared with the fastest peer and a \`sync -f\` of its
storage after it, which is part of the figure, and \`groot --no-sync\` with the fastest peer as it is. containerd's commands talk to a daemon that runs already.

${where}.
${versions}.`
}

function toolOf({ tools }: PeersDocument, name: string): ToolNote {
  const found = tools.find((tool) => tool.name === name)
  if (found === undefined) throw missing(`the tool "${name}"`)
  return found
}

function missing(what: string): Error {
  return new Error(
    `Cannot make the table: the figures lack ${what}; peers.js has to be run with all tools and rows`,
  )
}

/** The marks are lines of their own; a page may speak of them elsewhere. */
function replaceFigures(page: string, path: string, figures: string): string {
  const marked = new RegExp(`^${BEGIN}$[^]*?^${END}$`, 'm')
  if (!marked.test(page))
    throw new Error(`Cannot put figures into "${path}": it has no line "${BEGIN}" with a line "${END}" below`)
  return page.replace(marked, () => `${BEGIN}\n${figures}\n${END}`)
}

const [figuresPath, pagePath] = process.argv.slice(2)
try {
  if (figuresPath === undefined || pagePath === undefined)
    throw new Error('usage: readme-table PEERS.json PAGE.md')
  const page = readFileSync(pagePath, 'utf8')
  writeFileSync(pagePath, replaceFigures(page, pagePath, figuresOf(readPeersDocument(figuresPath))))
} catch (error) {
  console.error(`bench: ${error instanceof Error ? error.message : String(error)}`)
  process.exitCode = 1
}
