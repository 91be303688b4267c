/**
 * Pulls from docker-registry as machines have it: with passwords, certificates, a token server, a cache before it, and the
 * files of podman, Docker and containerd that say so.
 */
import { createHash } from 'node:crypto'
import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import {
  type CreateRequest,
  type GrootError,
  login,
  logout,
  openStore,
  type RegistrySettings,
} from '../../lib/index.js'
import { layer } from '../../lib/testkit/layer.js'
import { type LocalRegistry, type RegistrySetup, startRegistry } from '../images/registry.js'
import { findTool, titled } from '../images/tools.js'
import { AS_ROOT } from '../lib/operations/testing.js'
import { makeCertificate } from '../lib/registry/certificate.js'
import { helperPrograms } from '../lib/registry/helper-programs.js'
import { removeScratch } from '../support/mounts.js'
import { type Authority, makeAuthority } from '../support/pki.js'
import { ISSUER, SERVICE, startTokenServer } from '../support/token-server.js'

const missing = ['docker-registry', 'openssl'].filter((tool) => findTool(tool) === null)
const why = missing.length === 0 ? null : `needs ${missing.join(', ')}`

const REPOSITORY = 'team/app'
const BYTES = layer().dir('etc').file('etc/large', Buffer.alloc(300_000, 'large')).build()
const credentials = { username: 'me', password: 'hunter2' }
/** `me:hunter2` as htpasswd -B writes it. */
const HTPASSWD = 'me:$2b$05$abcdefghijklmnopqrstuuoXuKqgZXLiJqzfmMXDDhSFPIvxV7t8.\n'

let scratch: string
let data: string
let digest: string
let counter = 0

/** Pushes an image of one layer, tagged v1. @returns the digest of its manifest */
async function push(host: string): Promise<string> {
  const put = async (bytes: Uint8Array) => {
    const name = digestOf(bytes)
    const upload = await fetch(`http://${host}/v2/${REPOSITORY}/blobs/uploads/`, { method: 'POST' })
    const address = new URL(upload.headers.get('location') ?? '', `http://${host}`)
    address.searchParams.set('digest', name)
    const { status } = await fetch(address, { method: 'PUT', body: bytes as Uint8Array<ArrayBuffer> })
    if (status !== 201) throw new Error(`The registry did not take the blob: ${status}`)
    return { digest: name, size: bytes.length }
  }
  const config = {
    os: 'linux',
    architecture: 'amd64',
    rootfs: { type: 'layers', diff_ids: [digestOf(BYTES)] },
  }
  const mediaType = 'application/vnd.oci.image.manifest.v1+json'
  const manifest = JSON.stringify({
    schemaVersion: 2,
    mediaType,
    config: {
      mediaType: 'application/vnd.oci.image.config.v1+json',
      ...(await put(Buffer.from(JSON.stringify(config)))),
    },
    layers: [{ mediaType: 'application/vnd.oci.image.layer.v1.tar', ...(await put(BYTES)) }],
  })
  const { status } = await fetch(`http://${host}/v2/${REPOSITORY}/manifests/v1`, {
    method: 'PUT',
    body: manifest,
    headers: { 'content-type': mediaType },
  })
  if (status !== 201) throw new Error(`The registry did not take the manifest: ${status}`)
  return digestOf(Buffer.from(manifest))
}

function digestOf(bytes: Uint8Array): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`
}

/** A registry with the image in it. */
const serve = (setup: RegistrySetup = {}) =>
  startRegistry(`${scratch}/registry-${++counter}`, { data, ...setup })

function write(path: string, text: string): string {
  const file = `${scratch}/${path}`
  mkdirSync(dirname(file), { recursive: true })
  writeFileSync(file, text)
  return file
}

/** Creates a bundle in a new store; nothing of this machine counts but the settings. */
async function create(
  { host }: { readonly host: string },
  settings: RegistrySettings = {},
  change: Partial<CreateRequest> = {},
): Promise<string> {
  const store = await openStore({ path: `${scratch}/store-${++counter}`, driver: 'vfs', thread: 'caller' })
  try {
    const made = await store.create({
      image: `docker://${host}/${REPOSITORY}:v1`,
      id: 'b1',
      platform: 'linux/amd64',
      ignoreOwnership: !AS_ROOT,
      registry: { ignoreHostFiles: true, ...settings },
      ...change,
    })
    return made.image.digest
  } finally {
    await store.close()
  }
}

async function failure(work: Promise<unknown>): Promise<GrootError> {
  return work.then(
    () => Promise.reject(new Error('it worked')),
    (error: GrootError) => error,
  )
}

const codeOf = async (work: Promise<unknown>) => (await failure(work)).code

describe.skipIf(why !== null)(titled('a real registry', why), () => {
  beforeAll(async () => {
    scratch = mkdtempSync(`${tmpdir()}/groot-real-`)
    data = `${scratch}/data`
    await using registry = await serve()
    digest = await push(registry.host)
  })
  afterAll(() => removeScratch(scratch))

  it('is pulled from', async () => {
    await using registry = await serve()
    expect(await create(registry)).toBe(digest)
  })

  describe('with passwords', () => {
    let registry: LocalRegistry
    beforeEach(async () => {
      const path = write('htpasswd', HTPASSWD)
      registry = await serve({ auth: { htpasswd: { realm: 'here', path } } })
    })
    afterEach(() => registry[Symbol.asyncDispose]())

    it('is pulled from by the password of the call, and by no other', async () => {
      expect(await create(registry, {}, { credentials })).toBe(digest)
      expect(await codeOf(create(registry))).toBe('auth-required')
      expect(await codeOf(create(registry, {}, { credentials: { ...credentials, password: 'x' } }))).toBe(
        'auth-denied',
      )
    })

    it('is logged in at, pulled from, and logged out at', async () => {
      const settings = { authFile: `${scratch}/${++counter}/auth.json` }
      const wrong = {
        host: registry.host,
        credentials: { username: 'me', password: 'x' },
        registry: settings,
      }
      expect(await codeOf(login(wrong))).toBe('auth-denied')
      await login({ host: registry.host, credentials, registry: settings })
      expect(await create(registry, settings)).toBe(digest)
      await logout({ host: registry.host, registry: settings })
      expect(await codeOf(create(registry, settings))).toBe('auth-required')
    })

    it('is logged in at with a helper, which then gives the password', async () => {
      using programs = helperPrograms(`${scratch}/bin`)
      programs.addKeeper('keep')
      const settings = { authFile: write('helped.json', '{"credsStore":"keep"}') }
      await login({ host: registry.host, credentials, registry: settings })
      expect(await create(registry, settings)).toBe(digest)
      expect(programs.calls('keep').map((call) => call.split(' ')[0])).toEqual(['store', 'get'])
    })

    it('is pulled from by the entry for a namespace', async () => {
      const auth = (password: string) => ({ auth: Buffer.from(`me:${password}`).toString('base64') })
      const auths = { [registry.host]: auth('wrong'), [`${registry.host}/team`]: auth('hunter2') }
      const settings = { authFile: write('namespaces.json', JSON.stringify({ auths })) }
      expect(await create(registry, settings)).toBe(digest)
    })
  })

  describe('with TLS', () => {
    let authority: Authority
    let server: object
    let client: { readonly cert: string; readonly key: string }
    beforeAll(() => {
      authority = makeAuthority(`${scratch}/pki`)
      const { cert, key } = authority.issue('server', 'IP:127.0.0.1')
      client = authority.issue('client')
      server = { certificate: write('tls/server.crt', cert), key: write('tls/server.key', key) }
    })

    it('of an authority that nobody knows is refused', async () => {
      await using registry = await serve({ tls: server })
      expect(await failure(create(registry))).toMatchObject({ code: 'registry-unreachable' })
      expect(
        await codeOf(login({ host: registry.host, credentials, registry: { ignoreHostFiles: true } })),
      ).toBe('registry-unreachable')
    })

    it('is pulled from by the certificates of files', async () => {
      await using registry = await serve({ tls: server })
      const ca = `"${authority.file}"`
      const toml = write(`hosts/${registry.host}/hosts.toml`, `ca = ${ca}\n`)
      expect(await create(registry, { certsDirectory: dirname(dirname(toml)) })).toBe(digest)
      const bundle = { environment: { SSL_CERT_FILE: authority.file } }
      expect(await create(registry, bundle)).toBe(digest)
      const unverified = write(`careless/${registry.host}/hosts.toml`, 'skip_verify = true\n')
      expect(await create(registry, { certsDirectory: dirname(dirname(unverified)) })).toBe(digest)
      const conf = write('insecure.conf', `[[registry]]\nlocation = "${registry.host}"\ninsecure = true\n`)
      expect(await create(registry, { registriesConf: conf })).toBe(digest)
    })

    it('and certificates of clients is pulled from with one of these', async () => {
      await using registry = await serve({ tls: { ...server, clientcas: [authority.file] } })
      const directory = `mutual/${registry.host}`
      write(`${directory}/ca.crt`, readFileSync(authority.file, 'utf8'))
      const settings = { certsDirectory: `${scratch}/mutual` }
      expect(await codeOf(create(registry, settings))).toBe('registry-unreachable')
      write(`${directory}/client.cert`, client.cert)
      write(`${directory}/client.key`, client.key)
      expect(await create(registry, settings)).toBe(digest)
    })
  })

  describe('with a token server', () => {
    it.each(['token', 'access_token'] as const)('is pulled from by its %s', async (field) => {
      const certificate = makeCertificate()
      await using tokens = await startTokenServer({
        ...credentials,
        certificate,
        refreshToken: 'refresh',
        field,
      })
      const rootcertbundle = write('token.crt', certificate.cert)
      const token = { realm: tokens.realm, service: SERVICE, issuer: ISSUER, rootcertbundle }
      await using registry = await serve({ auth: { token } })
      // The token server is another origin, and gets the password over http by the user's word only.
      expect(await codeOf(create(registry, {}, { credentials }))).toBe('auth-realm-refused')
      const insecureRegistries = [new URL(tokens.realm).host]
      expect(await create(registry, {}, { credentials, insecureRegistries })).toBe(digest)
      expect(new Set(tokens.seen)).toEqual(new Set([`GET repository:${REPOSITORY}:pull`]))

      const auths = { [registry.host]: { identitytoken: 'refresh' } }
      const settings = { authFile: write('identity.json', JSON.stringify({ auths })) }
      expect(await create(registry, settings, { insecureRegistries })).toBe(digest)
      expect(tokens.seen.at(-1)).toBe(`POST repository:${REPOSITORY}:pull`)

      const authFile = `${scratch}/${++counter}/auth.json`
      await login({ host: registry.host, credentials, registry: { authFile }, insecureRegistries })
      expect(tokens.seen.at(-1)).toBe('GET ')
      const wrong = { ...credentials, password: 'x' }
      const again = login({
        host: registry.host,
        credentials: wrong,
        registry: { authFile },
        insecureRegistries,
      })
      expect(await codeOf(again)).toBe('auth-denied')
    })
  })

  describe('behind a cache', () => {
    it.each([
      [
        'hosts.toml',
        (registry: string, cache: string) => ({
          certsDirectory: dirname(
            dirname(write(`cached-${++counter}/${registry}/hosts.toml`, `[host."http://${cache}"]\n`)),
          ),
        }),
      ],
      [
        'registries.conf',
        (registry: string, cache: string) => ({
          registriesConf: write(
            `cached-${++counter}.conf`,
            `[[registry]]\nlocation = "${registry}"\n[[registry.mirror]]\nlocation = "${cache}"\n`,
          ),
        }),
      ],
    ])('by %s is pulled from, and need not be there for what the cache has', async (_, settingsFor) => {
      const registry = await serve()
      await using cache = await startRegistry(`${scratch}/registry-${++counter}`, {
        proxy: { remoteurl: `http://${registry.host}` },
      })
      const settings = settingsFor(registry.host, cache.host)
      expect(await create(registry, settings)).toBe(digest)
      await registry[Symbol.asyncDispose]()
      expect(
        await create(registry, settings, { image: `docker://${registry.host}/${REPOSITORY}@${digest}` }),
      ).toBe(digest)
    })
  })

  it('is found by a short name', async () => {
    await using registry = await serve()
    const conf = write('aliases.conf', `[aliases]\nmy-app = "${registry.host}/${REPOSITORY}"\n`)
    expect(await create(registry, { registriesConf: conf }, { image: 'my-app:v1' })).toBe(digest)
    expect(await codeOf(create(registry, { registriesConf: conf }, { image: 'other:v1' }))).toBe(
      'reference-ambiguous',
    )
  })
})
