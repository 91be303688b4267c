/**
 * Where drivers of other packages are found, by processes that are started in different ways. The driver says "NAME was
 * found" when it is asked whether it can work.
 */
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'

const ROOT = resolve(fileURLToPath(import.meta.url), '../../../..')
const COMMAND = `${ROOT}/dist/cli/main.cjs`
const DRIVER = `export default {
  api: 1, name: 'found', parseOptions: () => null, open() {},
  probe: async () => ({ usable: false, feature: 'the package', found: 'found', needed: 'nothing' }),
}`

let place: string
beforeEach(() => {
  place = realpathSync(mkdtempSync(join(tmpdir(), 'groot-host-')))
})
afterEach(() => rmSync(place, { recursive: true }))

function directory(path: string): string {
  mkdirSync(`${place}/${path}`, { recursive: true })
  return `${place}/${path}`
}

function installDriver(nodeModules: string, manifest: object = { exports: './index.js' }): void {
  const at = directory(`${nodeModules}/groot-driver-found`)
  writeFileSync(
    `${at}/package.json`,
    JSON.stringify({ name: 'groot-driver-found', type: 'module', ...manifest }),
  )
  writeFileSync(`${at}/index.js`, DRIVER)
}

/** A program that uses the library. */
function program(thread: 'caller' | 'engine' = 'caller'): string {
  return `import(${JSON.stringify(`${ROOT}/dist/bundle/lib/index.js`)}).then(({ openStore }) =>
    openStore({ path: ${JSON.stringify(`${place}/store`)}, driver: 'found', thread: '${thread}' })
  ).catch((error) => console.error(error.code))`
}

/** What came of it: the code of the error. */
function outcome(cwd: string, words: readonly string[], input = ''): string {
  const { stderr } = spawnSync(process.execPath, words, { cwd, input, encoding: 'utf8' })
  return stderr.match(/driver-[a-z]+/)?.[0] ?? stderr
}

const words = () => ['--store', `${place}/store`, '--driver', 'found', '--log-format', 'json', 'init-store']

describe('a driver in the working directory', () => {
  let cwd: string
  beforeEach(() => {
    installDriver('node_modules')
    cwd = directory('inside')
  })

  it('is not used by the command', () => {
    expect(outcome(cwd, [COMMAND, ...words()])).toBe('driver-unknown')
  })

  it.each<[string, (code: string) => readonly string[]]>([
    ['code from the command line', (code) => ['-e', code]],
    ['code whose first argument looks like a program', (code) => [`--eval=${code}`, `${place}/app.js`]],
    ['code that is printed', (code) => ['-p', code, `${place}/app.js`]],
    ['code from standard input', () => []],
    ['code from standard input, with an argument', () => ['-', `${place}/app.js`]],
    [
      'code of a thread',
      (code) => ['-e', `new (require('worker_threads').Worker)(${JSON.stringify(code)}, { eval: true })`],
    ],
  ])('is not used by %s', (_title, started) => {
    for (const thread of ['caller', 'engine'] as const) {
      const code = program(thread)
      expect([thread, outcome(cwd, started(code), code)]).toEqual([thread, 'driver-unknown'])
    }
  })
})

describe('the entry of a driver', () => {
  let file: string
  beforeEach(() => {
    file = `${directory('app')}/main.js`
    writeFileSync(file, program())
  })

  it.each<[string, object]>([
    ['a file', { exports: './index.js' }],
    ['for import alone', { exports: { '.': { import: './index.js' } } }],
    ['for import, without a path', { exports: { import: { node: './index.js' } } }],
    [
      'the first whose condition holds',
      { exports: { '.': { require: './none.cjs', browser: './none.js', default: ['./index.js'] } } },
    ],
    ['main', { main: 'index' }],
    ['index.js, when nothing is said', {}],
  ])('is taken from package.json: %s', (_title, manifest) => {
    installDriver('app/node_modules', manifest)
    expect(outcome('/', [file])).toBe('driver-unusable')
  })

  it.each<[string, object]>([
    ['for require alone', { exports: { require: './index.js' } }],
    ['of other names', { exports: { './driver': './index.js' } }],
    ['kept back', { exports: { '.': { import: null, default: './index.js' } } }],
    ['of another package', { exports: '../groot-driver-found/index.js' }],
    ['missing', { exports: './none.js' }],
  ])('is refused when it is %s', (_title, manifest) => {
    installDriver('app/node_modules', manifest)
    expect(outcome('/', [file])).toBe('driver-invalid')
  })

  it('is not looked for where NODE_PATH or the home directory say', () => {
    installDriver('.node_modules')
    const { stderr } = spawnSync(process.execPath, [file], {
      encoding: 'utf8',
      env: { ...process.env, HOME: place, NODE_PATH: `${place}/.node_modules` },
    })
    expect(stderr.trim()).toBe('driver-unknown')
  })
})

describe('a driver beside the program', () => {
  it.each(['caller', 'engine'] as const)('is used by the library, on the thread "%s"', (thread) => {
    installDriver('app/node_modules')
    const file = `${directory('app/bin')}/main.js`
    writeFileSync(file, program(thread))
    expect(outcome('/', [file])).toBe('driver-unusable')
    expect(outcome(`${place}/app`, ['bin/main'])).toBe('driver-unusable')
  })

  it('is used by a program that is named by a symlink', () => {
    installDriver('app/node_modules')
    writeFileSync(`${place}/app/main.js`, program())
    symlinkSync('app', `${place}/current`)
    symlinkSync('../current/main.js', `${directory('bin')}/main`)
    expect(outcome('/', [`${place}/bin/main`])).toBe('driver-unusable')
  })

  it('is used by the command when both are installed for all, groot as a symlink to a checkout', () => {
    installDriver('lib/node_modules')
    symlinkSync(ROOT, `${place}/lib/node_modules/groot`)
    symlinkSync('../lib/node_modules/groot/dist/cli/main.cjs', `${directory('bin')}/groot`)
    expect(outcome('/', [`${place}/bin/groot`, ...words()])).toBe('driver-unusable')
  })

  it('is used by the command of a project', () => {
    installDriver('node_modules')
    symlinkSync(ROOT, `${place}/node_modules/groot`)
    symlinkSync('../groot/dist/cli/main.cjs', `${directory('node_modules/.bin')}/groot`)
    expect(outcome('/', [`${place}/node_modules/.bin/groot`, ...words()])).toBe('driver-unusable')
  })
})
