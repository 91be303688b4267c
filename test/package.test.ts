/**
 * What is published: the package as npm packs it, put into an empty project and used from there.
 */
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import ts from 'typescript'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { removeScratch } from './support/mounts.js'

const ROOT = resolve(fileURLToPath(import.meta.url), '../..')
let project: string
let files: string[]

beforeAll(() => {
  project = mkdtempSync(join(tmpdir(), 'groot-package-'))
  const pack = ['pack', '--json', '--ignore-scripts', '--pack-destination', project]
  const [packed] = JSON.parse(
    execFileSync('npm', pack, { cwd: ROOT, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }),
  )
  files = packed.files.map((file: { path: string }) => file.path)
  mkdirSync(`${project}/node_modules/groot`, { recursive: true })
  execFileSync('tar', [
    '-xzf',
    `${project}/${packed.filename}`,
    '--strip-components=1',
    '-C',
    `${project}/node_modules/groot`,
  ])
  for (const name of readdirSync(`${ROOT}/node_modules`)) {
    if (!name.startsWith('.')) symlinkSync(`${ROOT}/node_modules/${name}`, `${project}/node_modules/${name}`)
  }
  writeFileSync(`${project}/package.json`, '{"type":"module"}')
})
afterAll(() => removeScratch(project))

function run(code: string): string {
  writeFileSync(`${project}/use.js`, code)
  return execFileSync(process.execPath, ['use.js'], { cwd: project, encoding: 'utf8' })
}

describe('the package', () => {
  it('holds the compiled code with its types, the docs, and nothing else', () => {
    const stray = files.filter(
      (file) =>
        !/^(dist\/bundle\/.*\.c?js|dist\/cli\/main\.c?js|dist\/(lib|cli|drivers)\/.*\.d\.c?ts|docs\/[a-z-]+\.md|README\.md|package\.json)$/.test(
          file,
        ),
    )
    expect(stray).toEqual([])
    for (const file of [
      'dist/lib/index.d.ts',
      'dist/cli/main.cjs',
      'dist/cli/main.js',
      'dist/bundle/drivers/vfs/index.js',
      'dist/bundle/lib/worker/ingest-thread.cjs',
    ]) {
      expect(files).toContain(file)
    }
  })

  it('is imported by its three names, and by no other path', () => {
    const code = `
      const names = async (name) => Object.keys(await import(name)).length > 0
      console.log(await names('groot'), await names('groot/driver-kit'), await names('groot/testkit'))
      console.log(await import('groot/dist/lib/errors.js').catch((error) => error.code))`
    expect(run(code)).toBe('true true true\nERR_PACKAGE_PATH_NOT_EXPORTED\n')
  })

  it('makes a bundle from there, threads and all', () => {
    const code = `
      import { mkdirSync, writeFileSync } from 'node:fs'
      import { openStore } from 'groot'
      mkdirSync('tree/etc', { recursive: true })
      writeFileSync('tree/etc/motd', 'hello '.repeat(100))
      const store = await openStore({ path: process.cwd() + '/store' })
      const { rootfs } = await store.create({ image: process.cwd() + '/tree', id: 'b1', ignoreOwnership: process.geteuid() !== 0 })
      console.log(rootfs === process.cwd() + '/store/bundles/b1/rootfs', (await store.check()).problems.length)
      await store.close()`
    expect(run(code)).toBe('true 0\n')
  })

  it('changes nothing of the process that uses it', () => {
    const code = `
      import { mkdirSync } from 'node:fs'
      import { openStore } from 'groot'
      // Node itself replaces process.chdir with its first thread.
      const look = () => [process.emit, process.reallyExit, process.cwd]
      const count = () => process.eventNames().map((name) => String(name) + process.listenerCount(name)).sort().join()
      const before = look(), listeners = count()
      mkdirSync('empty')
      const store = await openStore({ path: process.cwd() + '/own', driver: 'vfs', thread: 'caller' })
      await store.create({ image: process.cwd() + '/empty', id: 'b1', ignoreOwnership: process.geteuid() !== 0 })
      await store.delete('b1')
      await store.close()
      console.log(look().every((value, i) => value === before[i]), count() === listeners)`
    expect(run(code)).toBe('true true\n')
  })

  it('has a command', () => {
    const command = `${project}/node_modules/groot/dist/cli/main.cjs`
    expect(execFileSync(process.execPath, [command, '--version'], { encoding: 'utf8' })).toMatch(
      /^groot \d+\.\d+\.\d+\n$/,
    )
  })

  it('types what it exports', () => {
    const use = `${project}/use.ts`
    writeFileSync(
      use,
      `import { openStore, isGrootError, type BundleInfo } from 'groot'
       import type { DriverModule } from 'groot/driver-kit'
       import { driverCases } from 'groot/testkit'
       const store = await openStore({ path: '/x' })
       const info: BundleInfo = await store.create({ image: 'docker:///x', id: 'x' })
       const wrong: number = info.bundle
       export const cases = (module: DriverModule) => driverCases({ module, place: '/x' })
       export { isGrootError, wrong }`,
    )
    const program = ts.createProgram([use], {
      strict: true,
      noEmit: true,
      target: ts.ScriptTarget.ES2023,
      lib: ['lib.es2023.d.ts', 'lib.esnext.disposable.d.ts'],
      module: ts.ModuleKind.NodeNext,
      types: ['node'],
      typeRoots: [`${ROOT}/node_modules/@types`],
    })
    const messages = ts
      .getPreEmitDiagnostics(program)
      .map((each) => ts.flattenDiagnosticMessageText(each.messageText, ' '))
    expect(messages).toEqual(["Type 'string' is not assignable to type 'number'."])
  })
})
