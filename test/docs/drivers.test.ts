/**
 * The driver that docs/drivers.md shows is a complete one: it is taken from there, put where npm would put it, and used.
 */
import { spawnSync } from 'node:child_process'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import ts from 'typescript'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { DriverModule } from '../../lib/driver/contract.js'
import { driverCases } from '../../lib/testkit/driver-cases.js'

const ROOT = resolve(fileURLToPath(import.meta.url), '../../..')
const project = mkdtempSync(join(tmpdir(), 'groot-driver-docs-'))
const packageDirectory = `${project}/node_modules/groot-driver-copy`

beforeAll(() => {
  const [, source] =
    readFileSync(`${ROOT}/docs/drivers.md`, 'utf8').match(/```ts\n([\s\S]*?export default driver\n)```/) ?? []
  const options = { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext }
  mkdirSync(packageDirectory, { recursive: true })
  writeFileSync(
    `${packageDirectory}/index.js`,
    ts.transpileModule(source!, { compilerOptions: options }).outputText,
  )
  writeFileSync(
    `${packageDirectory}/package.json`,
    '{"name":"groot-driver-copy","type":"module","exports":"./index.js"}',
  )
  symlinkSync(ROOT, `${project}/node_modules/groot`)
  mkdirSync(`${project}/tree`)
  writeFileSync(`${project}/tree/file`, 'content')
})
afterAll(() => rmSync(project, { recursive: true }))

/** The command, as it is beside the driver. */
function groot(...words: string[]) {
  const command = `${project}/node_modules/groot/dist/cli/main.cjs`
  return spawnSync(process.execPath, [command, '--store', `${project}/store`, ...words], {
    cwd: project,
    encoding: 'utf8',
  })
}
const OWNER = process.geteuid?.() === 0 ? [] : ['--ignore-ownership']

const loadModule = async () =>
  (await import(/* @vite-ignore */ pathToFileURL(`${packageDirectory}/index.js`).href))
    .default as DriverModule

describe('the driver of docs/drivers.md', () => {
  const titles = driverCases({ module: {} as DriverModule, place: project })
  for (const { title, skip } of titles) {
    it.skipIf(skip !== null)(skip === null ? title : `${title} (${skip})`, async () => {
      const cases = driverCases({ module: await loadModule(), place: project })
      await cases.find((each) => each.title === title)!.run()
    })
  }

  it('is found by its name, beside the program', () => {
    expect(groot('init-store', '--driver', 'copy').status).toBe(0)
    const bundle = groot('create', ...OWNER, './tree', 'b1').stdout.trim()
    expect(readFileSync(`${bundle}/rootfs/file`, 'utf8')).toBe('content')
    expect(JSON.parse(readFileSync(`${project}/store/store.json`, 'utf8')).driver).toBe('copy')
    expect(groot('delete', 'b1').status).toBe(0)
    expect(existsSync(bundle)).toBe(false)
  })

  it('is refused when it asks for mounts that its traits do not tell of, and leaves nothing', async () => {
    const entry = `${packageDirectory}/index.js`
    const source = readFileSync(entry, 'utf8')
    const mount = '{ destination: "/", type: "tmpfs", source: "none", options: [] }'
    writeFileSync(entry, source.replace('return { mounts: [] }', `return { mounts: [${mount}] }`))
    try {
      const { status, stderr } = groot('--driver', 'copy', 'create', ...OWNER, './tree', 'b2')
      expect([status, stderr]).toEqual([19, expect.stringContaining('its traits say that it has none')])
      expect(readdirSync(`${project}/store/bundles`)).toEqual([])
      expect(readdirSync(`${project}/store/records`)).toEqual([])
    } finally {
      writeFileSync(entry, source)
    }
  })
})
