/**
 * Where the built command has Node keep what it compiled.
 */
import { spawnSync } from 'node:child_process'
import { chmodSync, chownSync, existsSync, mkdirSync, mkdtempSync, rmSync, statSync } from 'node:fs'
import module from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { titled } from '../images/tools.js'

const MAIN = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))
const BESIDE = fileURLToPath(new URL('../../dist/compiled', import.meta.url))
const NOBODY = 65_534
const isRoot = process.geteuid?.() === 0
const why =
  'enableCompileCache' in module ? null : `Node ${process.versions.node} cannot keep what it compiles`

let home = ''
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'groot-home-'))
})
afterEach(() => rmSync(home, { recursive: true }))

function version(env: Record<string, string>, uid?: number): number | null {
  const as = uid === undefined ? {} : { uid, gid: uid }
  return spawnSync(process.execPath, [MAIN, '--version'], { env, cwd: '/', ...as }).status
}

/** Others may not read a checkout in the home of root. */
const mayOthers = why !== null || !isRoot || version({}, NOBODY) === 0

describe.skipIf(why !== null)(titled('what Node compiled', why), () => {
  it.skipIf(!isRoot)('is kept beside the program for root, whatever the home is', () => {
    rmSync(BESIDE, { recursive: true, force: true })
    expect(version({ HOME: home, XDG_CACHE_HOME: join(home, 'cache') })).toBe(0)
    expect([existsSync(BESIDE), existsSync(join(home, 'cache'))]).toEqual([true, false])
    expect(statSync(BESIDE).mode & 0o022).toBe(0)
  })

  it.skipIf(!mayOthers)('is kept in the cache of any other user', () => {
    const uid = isRoot ? NOBODY : undefined
    if (uid !== undefined) chownSync(home, uid, uid)
    expect(version({ HOME: home }, uid)).toBe(0)
    expect(existsSync(join(home, '.cache/groot/compiled'))).toBe(true)
    mkdirSync(join(home, 'xdg'))
    if (uid !== undefined) chownSync(join(home, 'xdg'), uid, uid)
    expect(version({ HOME: home, XDG_CACHE_HOME: join(home, 'xdg') }, uid)).toBe(0)
    expect(existsSync(join(home, 'xdg/groot/compiled'))).toBe(true)
  })

  it.skipIf(!mayOthers)('is not kept where that cannot be written, and nobody is bothered', () => {
    chmodSync(home, 0o555)
    expect(version({ HOME: home }, isRoot ? NOBODY : undefined)).toBe(0)
    expect(version({}, isRoot ? NOBODY : undefined)).toBe(0)
  })
})
