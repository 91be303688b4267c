/**
 * The built command as root that may not mount, as in plain containers.
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { SAMPLE_TAG, writeSampleImage } from '../../cli/sample-image.js'
import { findTool } from '../images/tools.js'
import { removeScratch } from '../support/mounts.js'

const MAIN = fileURLToPath(new URL('../../dist/cli/main.cjs', import.meta.url))
const setpriv = process.geteuid?.() === 0 ? findTool('setpriv') : null
const WITHOUT_MOUNTS = ['--bounding-set=-sys_admin', '--inh-caps=-sys_admin']

let scratch = ''
let image = ''
beforeAll(() => {
  scratch = mkdtempSync(join(tmpdir(), 'groot-privileges-'))
  writeSampleImage(join(scratch, 'image'), process.arch)
  image = `oci:${join(scratch, 'image')}:${SAMPLE_TAG}`
})
afterAll(() => removeScratch(scratch))

function run(program: string, ...args: string[]) {
  const env = { PATH: process.env.PATH, HOME: scratch }
  return spawnSync(program, args, { env, cwd: scratch, encoding: 'utf8', timeout: 50_000 })
}
const groot = (...args: string[]) => run(process.execPath, MAIN, ...args)
const unprivileged = (...args: string[]) => run(setpriv!, ...WITHOUT_MOUNTS, process.execPath, MAIN, ...args)

describe.skipIf(setpriv === null)('without CAP_SYS_ADMIN (needs root and setpriv)', () => {
  it('a new store gets vfs, and overlay is refused with the reason', () => {
    const store = join(scratch, 'vfs')
    expect(unprivileged('--store', store, 'create', image, 'a')).toMatchObject({ status: 0 })
    const named = unprivileged('--store', join(scratch, 'named'), 'init-store', '--driver', 'overlay')
    expect([named.status, named.stderr]).toEqual([19, expect.stringContaining('EPERM')])
  })

  it('what is not mounted can be deleted and cleaned', () => {
    const store = ['--store', join(scratch, 'overlay')]
    const made = groot(...store, 'init-store', '--driver', 'overlay')
    // Where overlay works for nobody there is nothing to see.
    if (made.status === 19) return
    expect(unprivileged(...store, 'create', '--without-mount', image, 'a')).toMatchObject({ status: 0 })
    expect(unprivileged(...store, 'delete', 'a')).toMatchObject({ status: 0, stderr: '' })
    expect(unprivileged(...store, 'clean')).toMatchObject({ status: 0 })
    expect(groot(...store, 'create', image, 'mounted')).toMatchObject({ status: 0 })
    const busy = unprivileged(...store, 'delete', 'mounted')
    expect([busy.status, busy.stderr]).toEqual([20, expect.stringContaining('EPERM')])
    expect(groot(...store, 'delete', 'mounted')).toMatchObject({ status: 0 })
  })
})
