/**
 * Which files the built command loads.
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { MAIN } from '../images/tools.js'

/** Runs the command, whatever comes of it. @returns paths of all modules that it loaded */
export function filesLoadedBy(...args: readonly string[]): string[] {
  const scratch = mkdtempSync(join(tmpdir(), 'groot-loaded-'))
  const [told, teller] = [join(scratch, 'told.json'), join(scratch, 'teller.cjs')]
  try {
    writeFileSync(
      teller,
      `process.on('exit', () => require('node:fs').writeFileSync(${JSON.stringify(told)}, JSON.stringify(Object.keys(require.cache))))`,
    )
    spawnSync(process.execPath, ['--require', teller, MAIN, ...args], { stdio: 'ignore' })
    return JSON.parse(readFileSync(told, 'utf8'))
  } finally {
    rmSync(scratch, { recursive: true })
  }
}
