/**
 * How fast a directory becomes the digest of its composefs image, beside mkcomposefs. Run as
 * `node dist/bench/composefs-scan.js DIR [--rounds N] [--mkcomposefs PATH] [--out FILE]`; without a path in the option or in
 * GROOT_MKCOMPOSEFS only groot is measured. Prints a table of medians, and writes all samples to FILE; fails when the digests
 * differ.
 *
 * Round by round each step once, so that a disturbance meets all of them. The directory is read once before, so that it is
 * in the page cache. Processor time is of all threads and children.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { composefs } from '../lib/index.js'
import { writeFigures } from './figures.js'
import { environmentWith, median } from './measure.js'
import { MAIN } from './rows.js'
import { markdown } from './table.js'

interface Sample {
  readonly wallMs: number
  readonly cpuMs: number
  readonly digest: string | null
}
type Step = () => Promise<Sample>

const WARM_ROUNDS = 5

const { values, positionals } = parseArgs({
  options: {
    rounds: { type: 'string', default: '7' },
    mkcomposefs: { type: 'string', default: process.env.GROOT_MKCOMPOSEFS ?? '' },
    out: { type: 'string' },
    inside: { type: 'boolean', default: false },
  },
  allowPositionals: true,
})
const [directory] = positionals
const rounds = Number(values.rounds)
if (directory === undefined || !Number.isInteger(rounds) || rounds < 1) {
  console.error('usage: composefs-scan DIR [--rounds N] [--mkcomposefs PATH] [--out FILE]')
  process.exit(2)
}
if (values.inside) await printInside(directory)
else await compare(directory, rounds, values.mkcomposefs, values.out)

async function compare(
  path: string,
  count: number,
  mkcomposefs: string,
  out: string | undefined,
): Promise<void> {
  const options = ['--print-digest-only', path]
  const steps: Record<string, Step> = {
    node: async () => command([process.execPath, '-e', '0'], false),
    'groot composefs mk': async () =>
      command([process.execPath, MAIN, 'composefs', 'mk', '--scan-like=1.0.8', ...options], true),
    'library, cold': async () => inside(path).cold,
    'library, warm': async () => inside(path).warm,
    ...(mkcomposefs === '' ? {} : { mkcomposefs: async () => command([mkcomposefs, ...options], true) }),
  }
  const samples = new Map(Object.keys(steps).map((name) => [name, [] as Sample[]]))
  command([process.execPath, MAIN, 'composefs', 'mk', ...options], true)
  for (let round = 0; round < count; round++) {
    for (const [name, step] of Object.entries(steps)) samples.get(name)!.push(await step())
  }
  checkDigests([...samples.values()].flat())
  const wall = (name: string) => median(samples.get(name)!.map(({ wallMs }) => wallMs))
  const lines = [...samples].map(([name, all]) => [
    name,
    wall(name).toFixed(0),
    median(all.map(({ cpuMs }) => cpuMs)).toFixed(0),
    samples.has('mkcomposefs') ? (wall(name) / wall('mkcomposefs')).toFixed(2) : '',
  ])
  console.log(markdown(['step', 'wall ms', 'processor ms', 'of mkcomposefs'], lines))
  writeFigures(out, { rounds: count, steps: Object.fromEntries(samples) })
}

function checkDigests(samples: readonly Sample[]): void {
  const digests = new Set(samples.map(({ digest }) => digest).filter((digest) => digest !== null))
  if (digests.size > 1) throw new Error(`the digests differ: ${[...digests].join(' ')}`)
}

/** Processor time of children is told when they have ended. */
function command([program, ...args]: readonly string[], hasDigest: boolean): Sample {
  const cpuBefore = childCpuMs()
  const begun = performance.now()
  const { status, stdout, stderr } = spawnSync(program!, args, { encoding: 'utf8', env: environmentWith() })
  const wallMs = performance.now() - begun
  if (status !== 0) throw new Error(`${program} ${args.join(' ')}: ${stderr}`)
  return { wallMs, cpuMs: childCpuMs() - cpuBefore, digest: hasDigest ? stdout.trim() : null }
}

/** User and system time of waited-for children, in ticks of 10 ms (proc_pid_stat(5), fields 16 and 17). */
function childCpuMs(): number {
  const fields = readFileSync('/proc/self/stat', 'latin1').split(') ')[1]!.split(' ')
  return (Number(fields[13]) + Number(fields[14])) * 10
}

function inside(path: string): { readonly cold: Sample; readonly warm: Sample } {
  const argv = [process.argv[1]!, '--inside', path]
  return JSON.parse(execFileSync(process.execPath, argv, { encoding: 'utf8', env: environmentWith() }))
}

async function printInside(path: string): Promise<void> {
  const samples: Sample[] = []
  for (let round = 0; round <= WARM_ROUNDS; round++) {
    const cpu = process.cpuUsage()
    const begun = performance.now()
    const { digest } = await composefs.make({ directory: path, hardLinks: 'split' })
    const wallMs = performance.now() - begun
    const { user, system } = process.cpuUsage(cpu)
    samples.push({ wallMs, cpuMs: (user + system) / 1000, digest })
  }
  process.stdout.write(JSON.stringify({ cold: samples[0], warm: samples.at(-1) }))
}
