/**
 * The built command as programs and people meet it: real processes, a store of its own, the quickstart's image.
 */
import { type SpawnSyncOptions, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import {
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { SAMPLE_TAG, writeSampleImage } from '../../cli/sample-image.js'
import { filesLoadedBy } from '../support/loaded-files.js'
import { removeScratch } from '../support/mounts.js'

const MAIN = fileURLToPath(new URL('../../dist/cli/main.cjs', import.meta.url))
const QUICKSTART = fileURLToPath(new URL('../../dist/cli/quickstart.js', import.meta.url))
const isRoot = process.geteuid?.() === 0

let scratch = ''
let image = ''
beforeAll(() => {
  if (!existsSync(MAIN))
    throw new Error('Cannot test the command: it is not built; run "npm run build" first')
  scratch = mkdtempSync(join(tmpdir(), 'groot-e2e-'))
  writeSampleImage(join(scratch, 'image'), process.arch)
  image = `oci:${join(scratch, 'image')}:${SAMPLE_TAG}`
})
afterAll(() => removeScratch(scratch))

let stores = 0
const newStore = () => join(scratch, `store-${++stores}`)

/** The environment of a user who has set nothing. */
const environment = (store?: string) => ({
  PATH: process.env.PATH,
  HOME: join(scratch, 'home'),
  ...(store === undefined ? {} : { GROOT_STORE: store }),
})

function groot(args: readonly string[], store?: string, options: SpawnSyncOptions = {}) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, ...args], {
    env: environment(store),
    cwd: scratch,
    timeout: 50_000,
    ...options,
    encoding: 'utf8',
  })
  return { status, stdout, stderr }
}

const create = (id: string, ...more: string[]) => [
  'create',
  ...(isRoot ? [] : ['--ignore-ownership']),
  ...more,
  image,
  id,
]

describe('the command line', () => {
  it('shows its version, which is the package’s', () => {
    const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'))
    expect(groot(['--version'])).toEqual({ status: 0, stdout: `groot ${version}\n`, stderr: '' })
  })

  it('shows help on standard output when asked, on standard error when at a loss', () => {
    const asked = groot(['create', '--help'])
    expect(asked).toMatchObject({ status: 0, stderr: '' })
    expect(asked.stdout).toMatch(/^groot create \[options\] IMAGE ID\n/)
    const lost = groot([])
    expect(lost).toMatchObject({ status: 2, stdout: '' })
    expect(lost.stderr).toMatch(/^groot \[options\] VERB …\n/)
  })

  it.each([
    [['lst'], 'groot: Cannot run "lst": there is no such verb, did you mean "list"? Else see groot --help\n'],
    [
      ['list', '--\x1b[2J'],
      'groot: Cannot use the option "--\\x1b[2J": list has no such option; see groot list --help\n',
    ],
  ])('refuses %j in one harmless line', (args, stderr) => {
    expect(groot(args)).toEqual({ status: 2, stdout: '', stderr })
  })

  it('refuses wrong ids before it touches anything', () => {
    const store = newStore()
    for (const id of ['..', '', 'a/b', 'a\nb', 'x'.repeat(129)]) {
      const { status, stdout, stderr } = groot(['--log-format=json', 'create', '--', image, id], store)
      expect({ status, stdout }).toEqual({ status: 2, stdout: '' })
      expect(JSON.parse(stderr)).toMatchObject({ level: 'error', code: 'id-invalid', exitStatus: 2 })
    }
    expect(existsSync(store)).toBe(false)
  })

  it('chooses the store by user, environment and flag', () => {
    const storeOf = (env: Record<string, string | undefined>, ...args: string[]) => {
      const { stderr } = groot(['--log-format', 'json', 'list', ...args], undefined, {
        env: { ...environment(), ...env },
      })
      return JSON.parse(stderr).facts.path
    }
    const flag = join(scratch, 'flag')
    if (!isRoot) expect(storeOf({})).toBe(join(scratch, 'home/.local/share/groot'))
    expect(storeOf({ GROOT_STORE: 'none' })).toBe(join(scratch, 'none'))
    expect(storeOf({ GROOT_STORE: 'none' }, '--store', flag)).toBe(flag)
  })
})

describe('a bundle', () => {
  it('is made, listed, measured, checked and deleted', () => {
    const store = newStore()
    const bundle = join(store, 'bundles/web-1')
    const made = groot(create('web-1'), store)
    expect(made).toMatchObject({ status: 0, stdout: `${bundle}\n` })
    expect(statSync(join(bundle, 'rootfs/home/note.txt')).mode & 0o7777).toBe(0o600)
    expect(existsSync(join(bundle, 'rootfs/etc/motd'))).toBe(false)
    expect(JSON.parse(readFileSync(join(bundle, 'image.json'), 'utf8')).config.Cmd).toEqual(['hello'])
    const user = isRoot ? { uid: 1000, gid: 1000, additionalGids: [100] } : { uid: 0, gid: 0 }
    expect(JSON.parse(readFileSync(join(bundle, 'config.json'), 'utf8'))).toMatchObject({
      process: { args: ['hello'], cwd: '/home', env: ['PATH=/bin', 'MADE_BY=groot'], user },
      root: { path: 'rootfs', readonly: false },
      hostname: 'web-1',
      annotations: { 'org.example.purpose': 'quickstart', 'org.opencontainers.image.os': 'linux' },
    })

    const second = groot(create('web-2', '--json', '--read-only'), store)
    const described = JSON.parse(second.stdout)
    expect(described).toEqual({
      id: 'web-2',
      bundle: join(store, 'bundles/web-2'),
      rootfs: join(store, 'bundles/web-2/rootfs'),
      image: { reference: image, digest: expect.stringMatching(/^sha256:[0-9a-f]{64}$/) },
      digest: expect.stringMatching(/^[0-9a-f]{64}$/),
      driver: expect.stringMatching(/^(?:overlay|vfs)$/),
      mounts: [],
    })
    expect(JSON.parse(readFileSync(join(described.bundle, 'config.json'), 'utf8')).root.readonly).toBe(true)

    expect(groot(['list'], store)).toEqual({ status: 0, stdout: 'web-1\nweb-2\n', stderr: '' })
    const listed = JSON.parse(groot(['list', '--json'], store).stdout)
    expect(listed[1]).toEqual({ ...described, createdAt: expect.stringMatching(/^\d{4}-\d\d-\d\dT.*Z$/) })
    expect(groot(['stats', 'web-1'], store)).toMatchObject({
      status: 0,
      stdout: expect.stringMatching(
        /^\{"disk_usage":\{"total_bytes_used":\d+,"exclusive_bytes_used":\d+\},"digest":"[0-9a-f]{64}","disk_limit":null\}\n$/,
      ),
    })
    expect(groot(['check'], store)).toMatchObject({
      status: 0,
      stdout: expect.stringMatching(/, no problems\n$/),
    })

    expect(groot(create('web-1'), store)).toMatchObject({ status: 12, stdout: '' })
    expect(groot(['stats', 'gone'], store)).toMatchObject({ status: 13, stdout: '' })
    expect(groot(['delete', 'web-1', 'web-2'], store)).toEqual({ status: 0, stdout: '', stderr: '' })
    expect(groot(['delete', 'web-1'], store)).toEqual({
      status: 0,
      stdout: '',
      stderr: 'groot: warning: There is no bundle "web-1"\n',
    })
    expect(groot(['delete', '--must-exist', 'web-1'], store).status).toBe(13)
    expect(readdirSync(join(store, 'bundles'))).toEqual([])
  })

  it('is refused with one JSON line that says why, and leaves nothing', () => {
    const store = newStore()
    const args = ['--log-format', 'json', 'create', 'oci:none:such', 'web']
    const { status, stdout, stderr } = groot(args, store)
    expect({ status, stdout }).toEqual({ status: 13, stdout: '' })
    expect(JSON.parse(stderr)).toMatchObject({ level: 'error', kind: 'not-found', exitStatus: 13 })
    expect(groot(['list'], store)).toMatchObject({ stdout: '' })
  })

  it('that is damaged is found by check, which ends with 16', () => {
    const store = newStore()
    groot(create('web'), store)
    const [prefix = ''] = readdirSync(join(store, 'objects'))
    const [rest = ''] = readdirSync(join(store, 'objects', prefix))
    rmSync(join(store, 'objects', prefix, rest))
    const { status, stdout } = groot(['check', '--json'], store)
    expect(status).toBe(16)
    expect(JSON.parse(stdout).problems).not.toEqual([])
  })

  it.skipIf(
    !isRoot ||
      spawnSync('runc', ['--version']).error !== undefined ||
      !['x64', 'arm64'].includes(process.arch),
  )('is run by runc as it is (needs root, runc)', () => {
    const store = newStore()
    const id = `groot-e2e-${process.pid}`
    const bundle = groot(create(id), store).stdout.trimEnd()
    const args = ['--root', join(scratch, 'runc'), 'run', '-b', bundle, id]
    const { status, stdout, stderr } = spawnSync('runc', args, { encoding: 'utf8', timeout: 30_000 })
    expect({ status, stdout, stderr }).toEqual({
      status: 0,
      stdout: 'Hello! This is the only program of this container.\n',
      stderr: '',
    })
  })
})

describe('a store', () => {
  it('is made by init-store and deleted by delete-store, with bundles only when forced', () => {
    const store = newStore()
    expect(groot(['init-store'], store)).toMatchObject({ status: 0, stdout: `${store}\n` })
    expect(groot(['init-store'], store)).toMatchObject({ status: 10, stdout: '' })
    groot(create('web'), store)
    expect(groot(['delete-store'], store)).toMatchObject({ status: 10, stdout: '' })
    expect(groot(['delete-store', '--force'], store)).toMatchObject({ status: 0, stdout: '', stderr: '' })
    expect(existsSync(store)).toBe(false)
    expect(groot(['delete-store'], store)).toMatchObject({ status: 0, stdout: '' })
  })

  it('that is not there is empty to list, check and delete, and is not made by them', () => {
    const store = newStore()
    expect(groot(['list', '--json'], store)).toMatchObject({ status: 0, stdout: '[]\n' })
    expect(groot(['check'], store)).toMatchObject({ status: 0 })
    expect(groot(['delete', 'web'], store)).toMatchObject({ status: 0, stdout: '' })
    expect(existsSync(store)).toBe(false)
  })
})

describe('the process', () => {
  it('ends quietly when nobody reads its answer', async () => {
    const command = spawn('/bin/sh', ['-c', `"$0" "$1" --help | exec true`, process.execPath, MAIN], {
      env: environment(),
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    let stderr = ''
    command.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text
    })
    await once(command, 'close')
    expect(stderr).toBe('')
  })

  it.skipIf(!existsSync('/dev/full'))(
    'does not claim success when its answer cannot be written (needs /dev/full)',
    () => {
      const full = openSync('/dev/full', 'w')
      const { status, stderr } = groot(['--version'], undefined, { stdio: ['ignore', full, 'pipe'] })
      closeSync(full)
      expect(status).toBe(20)
      expect(stderr).toMatch(/^groot: Cannot write the answer to standard output: .*ENOSPC/)
    },
  )

  it('works where its working directory is gone', () => {
    const script = `mkdir gone && cd gone && rmdir ../gone && exec "$0" "$1" --store "$2" list`
    const { status, stderr } = spawnSync('/bin/sh', ['-c', script, process.execPath, MAIN, newStore()], {
      env: environment(),
      cwd: scratch,
      encoding: 'utf8',
    })
    expect({ status, stderr }).toMatchObject({
      status: 0,
      stderr: expect.stringContaining('There is no store'),
    })
  })

  it.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)(
    'told to end by %s in the middle of a create ends with %d and leaves no bundle',
    async (signal, expected) => {
      const server = createServer(() => {}) // a registry that accepts and never answers
      server.listen(0, '127.0.0.1')
      await once(server, 'listening')
      const { port } = server.address() as { port: number }
      const store = newStore()
      const registry = `127.0.0.1:${port}`
      const args = ['create', '--insecure-registry', registry, `docker://${registry}/image:tag`, 'web']
      const command = spawn(process.execPath, [MAIN, ...args], {
        env: environment(store),
        stdio: ['ignore', 'pipe', 'pipe'],
      })
      let stderr = ''
      command.stderr.setEncoding('utf8').on('data', (text: string) => {
        stderr += text
      })
      await once(server, 'connection')
      command.kill(signal)
      const [status] = await once(command, 'close')
      server.close()
      expect({ status, stderr }).toEqual({
        status: expected,
        stderr: `groot: Cannot go on: stopped by ${signal}\n`,
      })
      expect(groot(['list'], store)).toMatchObject({ status: 0, stdout: '' })
    },
  )

  it('loads no yargs for an ordinary verb', () => {
    const isYargs = (file: string) => file.includes('/yargs/')
    expect(filesLoadedBy('--store', newStore(), 'list').filter(isYargs)).toEqual([])
    expect(filesLoadedBy('--help').some(isYargs)).toBe(true)
  })
})

describe('the quickstart', () => {
  it('shows the path, the process and the tree, and leaves nothing behind', () => {
    const directory = mkdtempSync(join(scratch, 'tmp-'))
    const { status, stdout, stderr } = spawnSync(process.execPath, [QUICKSTART], {
      env: { ...environment(), TMPDIR: directory },
      encoding: 'utf8',
    })
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
    expect(stdout).toMatch(/\n {3}groot create oci:\S+ hello\n[\s\S]*\/store\/bundles\/hello /)
    expect(stdout).toMatch(/args {3}\["hello"\]/)
    expect(stdout).toMatch(/└── start → \.\.\/bin\/hello/)
    expect(stdout).toMatch(/Hello! This is the only program of this container\.|Skipped: /)
    expect(readdirSync(directory)).toEqual([])
  })

  it('keeps what it made with --keep', () => {
    const directory = mkdtempSync(join(scratch, 'tmp-'))
    const { status } = spawnSync(process.execPath, [QUICKSTART, '--keep'], {
      env: { ...environment(), TMPDIR: directory },
    })
    expect(status).toBe(0)
    const [kept = ''] = readdirSync(directory)
    expect(readdirSync(join(directory, kept, 'store/bundles')).sort()).toEqual(['hello', 'hello-2'])
  })
})
