/**
 * What the built command keeps of the code that V8 compiled, and whom it trusts with it.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const NOBODY = 65_534
const isRoot = process.geteuid?.() === 0
const LONG_AGO = new Date(0)

// A copy of the program, which tests can damage.
let program: string
let beside: string
beforeAll(() => {
  program = mkdtempSync(join(tmpdir(), 'groot-program-'))
  chmodSync(program, 0o755)
  beside = `${program}/dist/compiled`
  cpSync(`${ROOT}/dist/bundle`, `${program}/dist/bundle`, { recursive: true })
  mkdirSync(`${program}/dist/cli`)
  for (const name of ['main.cjs', 'main.js'])
    cpSync(`${ROOT}/dist/cli/${name}`, `${program}/dist/cli/${name}`)
  cpSync(`${ROOT}/package.json`, `${program}/package.json`)
  symlinkSync(`${ROOT}/node_modules`, `${program}/node_modules`)
})
afterAll(() => rmSync(program, { recursive: true }))

let home = ''
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'groot-home-'))
  rmSync(beside, { recursive: true, force: true })
})
afterEach(() => rmSync(home, { recursive: true }))

interface Run {
  readonly status: number | null
  readonly stderr: string
}

function groot(args: readonly string[], env: Record<string, string> = { HOME: home }, uid?: number): Run {
  const as = uid === undefined ? {} : { uid, gid: uid }
  const command = [`${program}/dist/cli/main.cjs`, ...args]
  const { status, stderr } = spawnSync(process.execPath, command, { env, cwd: '/', encoding: 'utf8', ...as })
  return { status, stderr }
}

/** A verb that needs no store. */
const dump = (env?: Record<string, string>, uid?: number): Run =>
  groot(['composefs', 'measure', `${program}/package.json`], env, uid)

const WELL: Run = { status: 0, stderr: '' }
/** The verb's directory in a place where code is kept. */
const kept = (place: string): string => `${place}/${process.version}/composefs`
const place = (): string => (isRoot ? beside : `${home}/.cache/groot/compiled`)

/** Others may not read a checkout in the home of root. */
const others = (): number | undefined => (isRoot ? NOBODY : undefined)
function giveHome(): void {
  if (isRoot) chownSync(home, NOBODY, NOBODY)
}

describe('what V8 compiled', () => {
  it('is kept by the first run that succeeds, for all that it loaded, and read by the next', () => {
    expect(dump()).toEqual(WELL)
    const names = readdirSync(kept(place())).sort()
    expect(names.filter((name) => name.startsWith('chunks%hot-'))).toHaveLength(1)
    const paths = names.map((name) => `${kept(place())}/${name}`)
    for (const path of paths) utimesSync(path, LONG_AGO, LONG_AGO)
    expect(dump()).toEqual(WELL)
    expect(paths.map((path) => statSync(path).mtimeMs)).toEqual(paths.map(() => 0))
  })

  it('is kept again, of all files, by a run that loads more', () => {
    expect(dump()).toEqual(WELL)
    const hot = () => readdirSync(kept(place())).filter((name) => name.startsWith('chunks%hot-'))
    const before = readFileSync(`${kept(place())}/${hot()[0]}`)
    const scratch = `${home}/tree`
    mkdirSync(scratch)
    const make = (): Run => groot(['composefs', 'mk', scratch, `${home}/image`])
    expect(make()).toEqual(WELL)
    const after = readFileSync(`${kept(place())}/${hot()[0]}`)
    expect(after.equals(before)).toBe(false)
    expect(make()).toEqual(WELL)
    expect(readFileSync(`${kept(place())}/${hot()[0]}`).equals(after)).toBe(true)
  })

  it('is for root beside the program, whatever the home is', { skip: !isRoot }, () => {
    expect(dump({ HOME: home, XDG_CACHE_HOME: join(home, 'cache') })).toEqual(WELL)
    expect([existsSync(kept(beside)), existsSync(join(home, 'cache'))]).toEqual([true, false])
    expect(statSync(beside).mode & 0o077).toBe(0)
  })

  it('is in the cache of any other user', () => {
    giveHome()
    expect(dump({ HOME: home }, others())).toEqual(WELL)
    expect(existsSync(kept(join(home, '.cache/groot/compiled')))).toBe(true)
    mkdirSync(join(home, 'xdg'))
    if (isRoot) chownSync(join(home, 'xdg'), NOBODY, NOBODY)
    expect(dump({ HOME: home, XDG_CACHE_HOME: join(home, 'xdg') }, others())).toEqual(WELL)
    expect(existsSync(kept(join(home, 'xdg/groot/compiled')))).toBe(true)
  })

  it('is not kept where that cannot be written, and nobody is bothered', () => {
    chmodSync(home, 0o555)
    expect(dump({ HOME: home }, others())).toEqual(WELL)
    expect(dump({}, others())).toEqual(WELL)
  })

  it('leaves nothing half written on a full disk', { skip: !isRoot }, () => {
    mkdirSync(beside)
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k,mode=700', 'tmpfs', beside])
    try {
      expect(dump()).toEqual(WELL)
      const names = readdirSync(kept(beside))
      expect(names.filter((name) => /\.\d+$/.test(name))).toEqual([])
      expect(dump()).toEqual(WELL)
    } finally {
      execFileSync('umount', [beside])
    }
  })

  it('is compiled again when it is damaged, cut short or of another file', () => {
    expect(dump()).toEqual(WELL)
    const paths = readdirSync(kept(place())).map((name) => `${kept(place())}/${name}`)
    const whole = paths.map((path) => readFileSync(path))
    const damages: ((data: Buffer, i: number) => Buffer)[] = [
      (data) => data.fill(0, data.length >> 1),
      (data) => data.subarray(0, data.length >> 1),
      () => Buffer.alloc(0),
      (_, i) => whole[(i + 1) % whole.length]!,
    ]
    for (const damage of damages) {
      for (const [i, path] of paths.entries()) writeFileSync(path, damage(readFileSync(path), i))
      expect(dump()).toEqual(WELL)
      expect(dump()).toEqual(WELL)
    }
  })

  it('is not taken from where others could have put it', { skip: !isRoot }, () => {
    expect(dump()).toEqual(WELL)
    const path = `${kept(beside)}/cli%process.cjs`
    for (const spoil of [() => chmodSync(beside, 0o777), () => chownSync(beside, NOBODY, NOBODY)]) {
      chownSync(beside, 0, 0)
      chmodSync(beside, 0o700)
      spoil()
      writeFileSync(path, 'what others wrote')
      expect(dump()).toEqual(WELL)
      expect(readFileSync(path, 'utf8')).toBe('what others wrote')
    }
  })

  it('is kept for verbs and for nothing else', () => {
    expect(groot(['nonsense']).status).not.toBe(0)
    expect(groot(['--version', 'nonsense']).status).toBe(0)
    expect(groot(['composefs', 'measure', '/not/there']).status).not.toBe(0)
    expect(existsSync(place())).toBe(false)
  })

  it('of a file that the program no longer has is taken away', () => {
    expect(dump()).toEqual(WELL)
    const [old, half] = [`${kept(place())}/chunks%hot-OldOld12.cjs`, `${kept(place())}/cli%process.cjs.12`]
    for (const path of [old, half]) writeFileSync(path, '')
    rmSync(`${kept(place())}/cli%process.cjs`)
    expect(dump()).toEqual(WELL)
    expect([old, half, `${kept(place())}/cli%process.cjs`].map(existsSync)).toEqual([false, false, true])
  })

  it('is the same module for a driver of another package', () => {
    const driver = `${program}/node_modules_of_driver.mjs`
    writeFileSync(
      driver,
      `import { createRequire } from 'node:module'
       import { GrootError } from 'groot'
       const require = createRequire(import.meta.url)
       const { CodeCache } = require('${program}/dist/bundle/cli/code-cache.cjs')
       const code = new CodeCache('${program}/dist/bundle', '${beside}', ['list'])
       const first = code.require('${program}/dist/bundle/lib/index.cjs')
       console.log(first === require('${program}/dist/bundle/lib/index.cjs'), first.GrootError === GrootError)`,
    )
    const { stdout } = spawnSync(process.execPath, [driver], { encoding: 'utf8', cwd: program })
    expect(stdout).toBe('true true\n')
  })
})
