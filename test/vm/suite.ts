/**
 * Machines as suites of tests: every check that a guest ran becomes a test of its name.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, inject, it } from 'vitest'
import { findTool, titled } from '../images/tools.js'
import { GROUPS, type GroupName } from './guest/groups.js'
import { type MachineSpec, runMachine, type Workshop } from './machine/boot.js'
import { type Disk, type DiskSpec, makeDisk, makersOf } from './machine/disks.js'
import { describeEnd, outcomeOf, type Report } from './machine/report.js'

export interface MachineSuite {
  readonly disks: readonly DiskSpec[]
  /** The groups that each machine runs, in order; one machine has the disks after the other. */
  readonly boots: readonly (readonly GroupName[])[]
}

/** For one machine; an idle host of two processors takes a tenth of it. */
const LIMIT_SECONDS = 480

const TRIES = 3

/** Why no machine with these disks can run here; null when one can. */
export function whyNoMachine(disks: readonly DiskSpec[]): string | null {
  const { why } = inject('machines')
  if (why !== null) return why
  const missing = makersOf(disks.map((disk) => disk.kind)).filter((tool) => findTool(tool) === null)
  return missing.length === 0 ? null : `needs ${missing.join(', ')}`
}

/** Makes the disks, and takes them away when they have been used; more than one machine may go on with them. */
async function withDisks<T>(
  specs: readonly DiskSpec[],
  use: (disks: readonly Disk[], workshop: Workshop) => Promise<T>,
): Promise<T> {
  const { workshop } = inject('machines')
  if (workshop === null) throw new Error('No machine can run here: skip the test')
  const directory = mkdtempSync(join(workshop.scratch, 'disks-'))
  try {
    const disks = specs.map((spec, index) => makeDisk(join(directory, `${index}.img`), spec))
    return await use(await Promise.all(disks), workshop)
  } finally {
    rmSync(directory, { recursive: true })
  }
}

/** One machine with new disks. */
export async function boot(
  specs: readonly DiskSpec[],
  spec: Omit<MachineSpec, 'disks'>,
  tries = TRIES,
): Promise<Report> {
  return (await runInTurn(specs, [spec], tries))[0]!
}

/**
 * Machines that have the same disks one after the other.
 *
 * The emulation has faults of its own, above all on a busy host: qemu crashes, or the kernel does while it starts. That
 * says nothing about groot: then all is done again, with new disks.
 */
async function runInTurn(
  specs: readonly DiskSpec[],
  machines: readonly Omit<MachineSpec, 'disks'>[],
  tries: number,
): Promise<Report[]> {
  for (let left = tries; ; left--) {
    const reports = await withDisks(specs, async (disks, workshop) => {
      const done: Report[] = []
      for (const machine of machines) done.push(await runMachine(workshop, { ...machine, disks }))
      return done
    })
    const lost = reports.find(isFaultOfEmulation)
    if (lost === undefined || left === 1) return reports
    console.log(
      `A machine is tried again: ${describeEnd(lost.end)}. Its console:\n${lost.console.slice(0, 8000)}`,
    )
  }
}

function isFaultOfEmulation({ release, end }: Report): boolean {
  return end.kind === 'lost' && (end.emulatorCrashed || release === null)
}

export function describeMachines(title: string, { disks, boots }: MachineSuite): void {
  const why = whyNoMachine(disks)
  describe.skipIf(why !== null)(titled(title, why), () => {
    let reports: readonly Report[] = []

    beforeAll(
      async () => {
        const machines = boots.map((groups) => ({ args: groups, limitSeconds: LIMIT_SECONDS }))
        reports = await runInTurn(disks, machines, TRIES)
        for (const { release, checks, end, console: shown, seconds } of reports) {
          console.log(`${title}: ${release}, ${seconds.toFixed(1)} s, ${describeEnd(end)}`)
          if (checks.some((check) => !check.passed)) console.log(`Its console:\n${shown}`)
        }
      },
      (TRIES * boots.length * LIMIT_SECONDS + 60) * 1000,
    )

    for (const [index, groups] of boots.entries()) {
      for (const group of groups) describeGroup(group, () => reports[index]!)
      it(`comes to its end${boots.length > 1 ? `, boot ${index + 1}` : ''}`, () => {
        expect(reports[index]!.end).toEqual({ kind: 'ended', status: 0 })
      })
    }
  })
}

/** @param report asked when the tests run */
function describeGroup(group: GroupName, report: () => Report): void {
  describe(group, () => {
    for (const name of Object.keys(GROUPS[group])) {
      it(name, () => {
        const outcome = outcomeOf(report(), group, name)
        if (!outcome.passed) expect.fail(outcome.why)
      })
    }
  })
}
