/** Bundles run: from a registry to what a container prints, as root and as an ordinary user. */
import { execFileSync } from 'node:child_process'
import { chmodSync, chownSync, cpSync, mkdirSync } from 'node:fs'
import { join, relative } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { onFilesystemOf } from '../support/btrfs.js'
import { DRIVERS } from '../support/mounts.js'
import { skopeoCopy } from './differential.js'
import { SHELL_USER, shellImages } from './fixtures.js'
import { writeLayout } from './layout.js'
import { type LocalRegistry, startRegistry } from './registry.js'
import { IS_ROOT, runBundle, whyRuncFails } from './runc.js'
import {
  CLEAN_ENV,
  groot,
  MAIN,
  missing,
  ROOT,
  type RunResult,
  run,
  type Scratch,
  scratchDirectory,
  titled,
} from './tools.js'

const TOOLS = ['runc', 'busybox', 'skopeo', 'docker-registry']
/** Nobody has this id, so nobody's limits and files are met. */
const STRANGER = 1_054_321

const whyNotRoot = missing({ root: true, tools: TOOLS }) ?? (await whyRuncFails(undefined))
const whyNotUser = missing({ tools: TOOLS }) ?? (await whyRuncFails(IS_ROOT ? STRANGER : undefined))

describe.skipIf(whyNotRoot !== null).each(DRIVERS)(
  titled('a bundle of the driver %s that runc runs as root', whyNotRoot),
  (driver) => {
    onFilesystemOf(driver)
    const shared = sharedImages()
    let count = 0

    /** Creates a bundle from the registry and runs it. */
    async function createAndRun(name: string, options: readonly string[] = []): Promise<RunResult> {
      const { scratch, host } = shared()
      const id = `${name}-${++count}`
      const args = [
        '--driver',
        driver,
        'create',
        '--insecure-registry',
        host,
        ...options,
        `docker://${host}/${name}:latest`,
        id,
      ]
      const bundle = (await groot(scratch.file(`store-${driver}`), args)).trimEnd()
      return await runBundle(bundle, id, scratch.file('runc'))
    }

    it('prints what the image says', async () => {
      expect(await createAndRun('shell')).toEqual({ status: 0, stdout: 'hello from the image\n', stderr: '' })
    })

    it('runs as the user of the image, in its directory, and reads that user’s files', async () => {
      const { name, uid, gid } = SHELL_USER
      const stdout = `${uid}\n${gid}\n/home/${name}\nmine\n`
      expect(await createAndRun('user')).toEqual({ status: 0, stdout, stderr: '' })
    })

    it('writes to a writable root filesystem', async () => {
      expect(await createAndRun('writer')).toMatchObject({ status: 0, stdout: 'new\n' })
    })

    it('cannot write to a read-only one', async () => {
      const result = await createAndRun('writer', ['--read-only'])
      expect(result).toMatchObject({ status: 0, stdout: 'refused\n' })
      expect(result.stderr).toContain('Read-only file system')
    })
  },
)

describe.skipIf(whyNotUser !== null)(
  titled('a bundle that runc runs for an ordinary user', whyNotUser),
  () => {
    const shared = sharedImages()
    let user: User

    beforeAll(() => {
      user = makeUser(shared().scratch)
    })

    async function createAndRun(name: string, options: readonly string[] = []): Promise<RunResult> {
      const { host } = shared()
      const args = ['create', '--ignore-ownership', '--insecure-registry', host, ...options]
      const created = await run(
        process.execPath,
        [user.main, ...args, `docker://${host}/${name}:latest`, name],
        user.run,
      )
      const bundle = created.trimEnd()
      expect(relative(user.home, bundle)).toBe(`.local/share/groot/bundles/${name}`)
      return await runBundle(bundle, name, join(user.home, 'runc'), user.run)
    }

    it('prints what the image says, with a single id mapped', async () => {
      expect(await createAndRun('shell')).toEqual({ status: 0, stdout: 'hello from the image\n', stderr: '' })
    })

    it('runs as root of a user namespace whatever the user of the image, and reads all files', async () => {
      const stdout = `0\n0\n/home/${SHELL_USER.name}\nmine\n`
      expect(await createAndRun('user')).toEqual({ status: 0, stdout, stderr: '' })
    })

    it('writes to its root filesystem', async () => {
      expect(await createAndRun('writer')).toMatchObject({ status: 0, stdout: 'new\n' })
    })
  },
)

interface Shared {
  readonly scratch: Scratch
  /** The registry with the images, HOST:PORT. */
  readonly host: string
}

/** Images in a registry of their own, for the tests of one describe. */
function sharedImages(): () => Shared {
  let scratch: Scratch
  let registry: LocalRegistry
  beforeAll(async () => {
    scratch = scratchDirectory()
    chmodSync(scratch.path, 0o711)
    const images = shellImages()
    writeLayout(scratch.file('layout'), images, ['gzip'])
    registry = await startRegistry(scratch.file('registry'))
    for (const { name } of images) {
      await skopeoCopy(
        scratch.path,
        `oci:${scratch.file('layout')}:${name}`,
        `docker://${registry.host}/${name}:latest`,
      )
    }
  })
  afterAll(async () => {
    await registry?.[Symbol.asyncDispose]()
    scratch?.[Symbol.dispose]()
  })
  return () => ({ scratch, host: registry.host })
}

interface User {
  readonly home: string
  /** The command, where this user can read it. */
  readonly main: string
  readonly run: {
    readonly uid?: number
    readonly cwd: string
    readonly env: Readonly<Record<string, string>>
  }
}

/** Someone without root: the caller, or for root a stranger with an installation that strangers can read. */
function makeUser(scratch: Scratch): User {
  const home = scratch.file('home')
  mkdirSync(join(home, 'run'), { recursive: true, mode: 0o700 })
  const env = { ...CLEAN_ENV, HOME: home, XDG_RUNTIME_DIR: join(home, 'run'), XDG_DATA_HOME: '' }
  if (!IS_ROOT) return { home, main: MAIN, run: { cwd: home, env } }
  for (const path of [home, join(home, 'run')]) chownSync(path, STRANGER, STRANGER)
  return { home, main: install(scratch.file('installed')), run: { cwd: home, env, uid: STRANGER } }
}

/** Copies the built package and what it depends on, as `npm install --omit=dev` would lay it out. */
function install(directory: string): string {
  const listed = execFileSync('npm', ['ls', '--omit=dev', '--all', '--parseable'], {
    cwd: ROOT,
    encoding: 'utf8',
  })
  const packages = listed.split('\n').filter((path) => path.startsWith(join(ROOT, 'node_modules')))
  for (const path of [
    'package.json',
    'dist/bundle',
    'dist/cli',
    ...packages.map((each) => relative(ROOT, each)),
  ]) {
    cpSync(join(ROOT, path), join(directory, path), { recursive: true })
  }
  execFileSync('chmod', ['-R', 'a+rX', directory])
  return join(directory, relative(ROOT, MAIN))
}
