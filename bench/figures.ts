/**
 * Figures as they are written to a file, with what they were measured on.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { cpus, release } from 'node:os'
import { dirname } from 'node:path'

/** @param out the file; nothing is written without one */
export function writeFigures(out: string | undefined, figures: object): void {
  if (out === undefined) return
  const machine = { cpu: cpus()[0]?.model ?? '', kernel: release(), node: process.version }
  const document = { date: new Date().toISOString().slice(0, 10), machine, ...figures }
  mkdirSync(dirname(out), { recursive: true })
  writeFileSync(out, `${JSON.stringify(document, null, 2)}\n`)
}
