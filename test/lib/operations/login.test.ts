import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  type GrootError,
  type GrootEvent,
  type LoginRequest,
  login,
  logout,
  type RegistrySettings,
} from '../../../lib/index.js'
import { complain, type FakeRegistry, respond, startRegistry } from '../registry/fake-registry.js'
import { type HelperPrograms, helperPrograms } from '../registry/helper-programs.js'

const credentials = { username: 'me', password: 'hunter2-é' }
const BASIC = `Basic ${Buffer.from('me:hunter2-é').toString('base64')}`
const AUTH = BASIC.slice('Basic '.length)

let scratch: string
let registry: FakeRegistry
let programs: HelperPrograms
let events: GrootEvent[]

beforeEach(async () => {
  scratch = mkdtempSync(`${tmpdir()}/groot-login-`)
  registry = await startRegistry()
  programs = helperPrograms(`${scratch}/bin`)
  events = []
  demand('Basic realm="x"', BASIC)
})
afterEach(async () => {
  programs[Symbol.dispose]()
  await registry[Symbol.asyncDispose]()
  rmSync(scratch, { recursive: true, force: true })
})

/** Has the registry want a header, and challenge who has another. */
function demand(challenge: string, header: string): void {
  registry.fault = (request, response) => {
    if (request.url !== '/v2/' || request.headers.authorization === header) return false
    response.setHeader('www-authenticate', challenge)
    return complain(response, 401, 'UNAUTHORIZED', `not ${request.headers.authorization ?? 'so'}`)
  }
}

function request(change: Partial<LoginRequest> = {}): LoginRequest {
  const environment = { HOME: `${scratch}/home`, XDG_RUNTIME_DIR: `${scratch}/run` }
  return {
    host: registry.host,
    credentials,
    registry: { environment },
    onEvent: (event) => void events.push(event),
    ...change,
  }
}

async function failure(work: Promise<unknown>): Promise<GrootError> {
  return work.then(
    () => Promise.reject(new Error('it worked')),
    (error: GrootError) => error,
  )
}

const CONFIG = () => `${scratch}/home/.docker/config.json`
const written = (path = CONFIG()) => JSON.parse(readFileSync(path, 'utf8'))

describe('login', () => {
  it('verifies the credentials and keeps them in a file for their owner only', async () => {
    expect(await login(request())).toEqual({
      host: registry.host,
      keptIn: { kind: 'file', path: CONFIG() },
    })
    expect(written()).toEqual({ auths: { [registry.host]: { auth: AUTH } } })
    expect([statSync(CONFIG()).mode & 0o777, statSync(`${scratch}/home/.docker`).mode & 0o777]).toEqual([
      0o600, 0o700,
    ])
    expect(readdirSync(`${scratch}/home/.docker`)).toEqual(['config.json'])
    expect(registry.seen.map(({ path, headers }) => [path, headers.authorization])).toEqual([
      ['/v2/', undefined],
      ['/v2/', undefined],
      ['/v2/', BASIC],
    ])
    expect(events).toEqual([])
  })

  it.each<[string, (scratch: string) => RegistrySettings, string]>([
    ['the named file', (at) => ({ authFile: `${at}/named/auth.json` }), 'named/auth.json'],
    ['REGISTRY_AUTH_FILE', (at) => ({ environment: { REGISTRY_AUTH_FILE: `${at}/auth.json` } }), 'auth.json'],
    ['DOCKER_CONFIG', (at) => ({ environment: { DOCKER_CONFIG: `${at}/docker` } }), 'docker/config.json'],
  ])('keeps them in %s', async (_, settings, path) => {
    const { keptIn } = await login(request({ registry: settings(scratch) }))
    expect(keptIn).toEqual({ kind: 'file', path: `${scratch}/${path}` })
    expect(written(`${scratch}/${path}`).auths[registry.host]).toEqual({ auth: AUTH })
  })

  it('keeps all else that the file says, and the file behind a link', async () => {
    mkdirSync(`${scratch}/home/.docker`, { recursive: true })
    writeFileSync(`${scratch}/real.json`, '{"psFormat":"x","auths":{"b.example":{"auth":"eDp5"}}}', {
      mode: 0o644,
    })
    symlinkSync(`${scratch}/real.json`, CONFIG())
    await login(request())
    expect(lstatSync(CONFIG()).isSymbolicLink()).toBe(true)
    expect(statSync(`${scratch}/real.json`).mode & 0o777).toBe(0o600)
    expect(written()).toEqual({
      psFormat: 'x',
      auths: { 'b.example': { auth: 'eDp5' }, [registry.host]: { auth: AUTH } },
    })
  })

  it.each([
    ['credsStore', (host: string) => ({ credsStore: 'keep', auths: { [host]: { auth: 'eDp5' } } })],
    ['credHelpers', (host: string) => ({ credsStore: 'other', credHelpers: { [host]: 'keep' } })],
  ])('gives them to the helper of %s, and leaves no password in the file', async (_, document) => {
    programs.addKeeper('keep')
    mkdirSync(`${scratch}/home/.docker`, { recursive: true })
    writeFileSync(CONFIG(), JSON.stringify(document(registry.host)))
    const { keptIn } = await login(request())
    expect(keptIn).toEqual({ kind: 'helper', name: 'docker-credential-keep' })
    expect(written().auths).toEqual({ [registry.host]: {} })
    expect(programs.calls('keep')).toEqual([
      `store {"ServerURL":"${registry.host}","Username":"me","Secret":"hunter2-é"}`,
    ])
  })

  it('takes a token of the registry’s token service', async () => {
    demand(`Bearer realm="${registry.origin}/token",service="here"`, 'Bearer abc')
    const inner = registry.fault
    registry.fault = (incoming, response) => {
      if (!incoming.url?.startsWith('/token')) return inner(incoming, response)
      const isRight = incoming.headers.authorization === BASIC
      return respond(response, isRight ? 200 : 401, isRight ? '{"access_token":"abc"}' : '')
    }
    await login(request())
    expect(registry.seen.map(({ path }) => path).at(-2)).toBe('/token?service=here')
    const wrong = { ...credentials, password: 'wrong-one' }
    expect((await failure(login(request({ credentials: wrong })))).code).toBe('auth-denied')
  })

  it('changes nothing when the registry does not accept them, and shows no secret', async () => {
    const wrong = { username: 'me', password: 'wrong-secret' }
    const error = await failure(login(request({ credentials: wrong })))
    expect([error.code, error.exitStatus, error.message]).toEqual([
      'auth-denied',
      14,
      `Cannot log in at "${registry.host}": it does not accept the credentials (UNAUTHORIZED: not Basic …)`,
    ])
    expect(existsSync(`${scratch}/home`)).toBe(false)
    const told = JSON.stringify([error.facts, error.stack, String(error.cause)])
    expect(told).not.toMatch(/wrong-secret|bWU6d3/)
  })

  it.each([
    [404, 'registry-status'],
    [500, 'registry-status'],
    [403, 'auth-denied'],
  ])('with the answer %s is %s', async (status, code) => {
    registry.fault = (_, response) => complain(response, status, 'X', 'no')
    expect((await failure(login(request()))).code).toBe(code)
    expect(existsSync(CONFIG())).toBe(false)
  })

  it('says when nobody knows whether the credentials are right', async () => {
    registry.fault = () => false
    await login(request())
    expect(events).toMatchObject([{ kind: 'warning', code: 'login-unverified' }])
  })

  it('says when others count before those that are kept', async () => {
    mkdirSync(`${scratch}/run/containers`, { recursive: true })
    const file = `${scratch}/run/containers/auth.json`
    writeFileSync(file, JSON.stringify({ auths: { [registry.host]: { auth: 'eDp5' } } }))
    await login(request())
    expect(events).toMatchObject([
      { kind: 'warning', code: 'login-shadowed', facts: { host: registry.host, file } },
    ])
  })

  it.each([
    ['{', 'configuration-invalid'],
    ['{"credsStore":"../x"}', 'configuration-invalid'],
    ['{"credsStore":"gone"}', 'credential-helper-failed'],
  ])('leaves a file with %s as it is', async (text, code) => {
    mkdirSync(`${scratch}/home/.docker`, { recursive: true })
    writeFileSync(CONFIG(), text)
    expect((await failure(login(request()))).code).toBe(code)
    expect(readFileSync(CONFIG(), 'utf8')).toBe(text)
    expect(readdirSync(`${scratch}/home/.docker`)).toEqual(['config.json'])
  })

  it.each(['', 'a.example/team', 'https://a b', 'me@a.example', 'a.example:0'])(
    'refuses the host %j',
    async (host) => {
      expect(await failure(login(request({ host })))).toMatchObject({
        code: 'option-invalid',
        facts: { option: 'host', value: host },
      })
    },
  )

  it('refuses what no header can carry before anybody is asked', async () => {
    const odd = { username: 'a:b', password: 'x' }
    expect((await failure(login(request({ credentials: odd })))).facts).toEqual({ option: 'username' })
    expect(registry.seen).toEqual([])
  })

  it.skipIf(process.geteuid?.() === 0)(
    'tells what cannot be written (needs another user than root)',
    async () => {
      mkdirSync(`${scratch}/home`)
      chmodSync(`${scratch}/home`, 0o500)
      expect(await failure(login(request()))).toMatchObject({
        code: 'system-call',
        facts: { errno: 'EACCES' },
      })
    },
  )
})

describe('logout', () => {
  const quiet = () => ({ host: registry.host, registry: request().registry!, onEvent: request().onEvent! })

  it('forgets what login kept, in the file and with the helper', async () => {
    await login(request())
    expect(await logout(quiet())).toEqual({ host: registry.host, existed: true })
    expect(written()).toEqual({ auths: {} })
    expect(await logout(quiet())).toEqual({ host: registry.host, existed: false })

    programs.addKeeper('keep')
    writeFileSync(CONFIG(), '{"credsStore":"keep"}')
    await login(request())
    expect(await logout(quiet())).toEqual({ host: registry.host, existed: true })
    expect(programs.calls('keep').at(-1)).toBe(`erase ${registry.host}`)
    expect(written()).toEqual({ credsStore: 'keep', auths: {} })
  })

  it('needs no file', async () => {
    expect(await logout(quiet())).toEqual({ host: registry.host, existed: false })
    expect(existsSync(`${scratch}/home`)).toBe(false)
  })

  it('knows Docker Hub by all its names', async () => {
    mkdirSync(`${scratch}/home/.docker`, { recursive: true })
    for (const host of [
      'docker.io',
      'index.docker.io',
      'https://index.docker.io/v1/',
      'Registry-1.Docker.io',
    ]) {
      writeFileSync(CONFIG(), '{"auths":{"https://index.docker.io/v1/":{"auth":"eDp5"}}}')
      expect(await logout({ ...quiet(), host })).toEqual({ host: 'registry-1.docker.io', existed: true })
    }
  })

  it('says where there are others', async () => {
    mkdirSync(`${scratch}/run/containers`, { recursive: true })
    const file = `${scratch}/run/containers/auth.json`
    writeFileSync(file, JSON.stringify({ auths: { [registry.host]: { auth: 'eDp5' } } }))
    await logout(quiet())
    expect(events).toMatchObject([{ kind: 'warning', code: 'logout-incomplete', facts: { file } }])
  })
})

describe('logins at once', () => {
  it('keep all entries, through a link, for the owner only', async () => {
    const real = `${scratch}/dotfiles/docker.json`
    mkdirSync(`${scratch}/dotfiles`)
    mkdirSync(`${scratch}/home/.docker`, { recursive: true })
    writeFileSync(real, JSON.stringify({ auths: { 'before.example': { auth: AUTH } }, other: 1 }), {
      mode: 0o600,
    })
    symlinkSync(real, CONFIG())
    const registries = await Promise.all(Array.from({ length: 8 }, () => startRegistry()))
    try {
      await Promise.all(registries.map(({ host }) => login(request({ host }))))
      expect(Object.keys(written().auths).sort()).toEqual(
        ['before.example', ...registries.map(({ host }) => host)].sort(),
      )
      await Promise.all(registries.slice(0, 4).map(({ host }) => logout(request({ host }))))
      expect(Object.keys(written().auths).sort()).toEqual(
        ['before.example', ...registries.slice(4).map(({ host }) => host)].sort(),
      )
    } finally {
      for (const each of registries) await each[Symbol.asyncDispose]()
    }
    expect(written()).toMatchObject({ other: 1 })
    expect(lstatSync(CONFIG()).isSymbolicLink()).toBe(true)
    expect(statSync(real).mode & 0o777).toBe(0o600)
    expect(readdirSync(`${scratch}/dotfiles`)).toEqual(['docker.json'])
  })
})
