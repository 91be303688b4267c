import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname } from 'node:path'
import tls from 'node:tls'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { RegistrySettings } from '../../../lib/config/settings.js'
import type { GrootError } from '../../../lib/errors.js'
import type { GrootEvent } from '../../../lib/events.js'
import { type HostFilesOptions, hostFiles } from '../../../lib/registry/host-files.js'
import type { RegistryEndpoint } from '../../../lib/registry/hosts.js'
import { makeCertificate } from './certificate.js'

const HUB = 'registry-1.docker.io'
const BOTH = new Set(['pull', 'resolve'])
const signal = new AbortController().signal
const certificate = makeCertificate()
const other = makeCertificate()

let scratch: string
let events: GrootEvent[]
beforeEach(() => {
  scratch = mkdtempSync(`${tmpdir()}/groot-hosts-`)
  mkdirSync(`${scratch}/certs.d`)
  events = []
})
afterEach(() => rmSync(scratch, { recursive: true, force: true }))

function write(name: string, text: string): string {
  const path = `${scratch}/${name}`
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, text)
  return path
}

/** Nothing of this machine, but what the test has written: registries.conf, certs.d and auth.json. */
function files(settings: RegistrySettings = {}, options: Partial<HostFilesOptions> = {}) {
  return hostFiles({
    settings: { ignoreHostFiles: true, certsDirectory: `${scratch}/certs.d`, ...settings },
    insecureRegistries: [],
    events: (event) => void events.push(event),
    around: { uid: 1000, home: `${scratch}/home` },
    ...options,
  })
}

const conf = (text: string) => ({ registriesConf: write('registries.conf', text) })
const image = (registry: string, repository = 'team/app') => ({ registry, repository, tag: 'v1' })

async function endpoints(settings: RegistrySettings, registry: string, repository?: string) {
  return await files(settings).endpointsFor(image(registry, repository))
}

/** An endpoint in short. */
function short({ host, path, repository, security, isMirror, namespace }: RegistryEndpoint): string {
  const marks = [
    security,
    isMirror ? 'mirror' : 'itself',
    ...(namespace === undefined ? [] : [`ns=${namespace}`]),
  ]
  return `${host}${path}/${repository} ${marks.join(' ')}`
}

async function failure(work: Promise<unknown>): Promise<GrootError> {
  return work.then(
    () => Promise.reject(new Error('it worked')),
    (error: GrootError) => error,
  )
}

describe('without files', () => {
  it('a registry is asked itself', async () => {
    expect((await endpoints({}, 'a.example')).map(short)).toEqual(['a.example/v2/team/app verified itself'])
    expect((await endpoints({}, '127.0.0.1:5000')).map(short)).toEqual([
      '127.0.0.1:5000/v2/team/app loopback itself',
    ])
  })

  it('nothing is looked at before it is asked for', () => {
    expect(() =>
      files({ certsDirectory: '/nowhere', registriesConf: '/nowhere', authFile: '/nowhere' }),
    ).not.toThrow()
  })

  it.each([
    ['certsDirectory', 'is no directory'],
    ['registriesConf', 'is not there'],
  ])('that were named by %s nothing is asked', async (name, problem) => {
    const error = await failure(endpoints({ [name]: `${scratch}/nowhere` }, 'a.example'))
    expect([error.code, error.facts]).toEqual([
      'configuration-invalid',
      { file: `${scratch}/nowhere`, key: '', problem },
    ])
  })
})

describe('registries.conf', () => {
  it('gives mirrors, and the registry last', async () => {
    const settings = conf(`
      [[registry]]
      location = "docker.io"
      [[registry.mirror]]
      location = "mirror.example:5000/hub"
      insecure = true
      [[registry.mirror]]
      location = "localhost:5001"
    `)
    expect(await endpoints(settings, HUB, 'library/alpine')).toEqual([
      {
        host: 'mirror.example:5000',
        path: '/v2',
        repository: 'hub/library/alpine',
        security: 'any',
        capabilities: BOTH,
        isMirror: true,
      },
      {
        host: 'localhost:5001',
        path: '/v2',
        repository: 'library/alpine',
        security: 'loopback',
        capabilities: BOTH,
        isMirror: true,
      },
      {
        host: HUB,
        path: '/v2',
        repository: 'library/alpine',
        security: 'verified',
        capabilities: BOTH,
        isMirror: false,
      },
    ])
  })

  it('puts another place in the place of a registry, which is a mirror as far as credentials go', async () => {
    const settings = conf(
      '[[registry]]\nprefix = "a.example"\nlocation = "b.example/a"\n[[registry]]\nprefix = "c.example/hub"\nlocation = "docker.io"',
    )
    expect((await endpoints(settings, 'a.example')).map(short)).toEqual([
      'b.example/v2/a/team/app verified mirror',
    ])
    expect((await endpoints(settings, 'c.example', 'hub/alpine')).map(short)).toEqual([
      `${HUB}/v2/library/alpine verified mirror`,
    ])
  })

  it('blocks by name, whatever certs.d says', async () => {
    write('certs.d/a.example/hosts.toml', 'server = "https://b.example"')
    const settings = conf(
      '[[registry]]\nprefix = "a.example/team"\nlocation = "a.example/team"\nblocked = true',
    )
    const error = await failure(endpoints(settings, 'a.example'))
    expect([error.code, error.exitStatus, error.facts]).toEqual([
      'registry-blocked',
      15,
      {
        registry: 'a.example',
        repository: 'team/app',
        prefix: 'a.example/team',
        file: settings.registriesConf,
      },
    ])
    expect((await endpoints(settings, 'a.example', 'other/app')).map(short)).toEqual([
      'b.example/v2/other/app verified mirror ns=a.example',
    ])
  })

  it('has drop-ins that count more, in the order of their names', async () => {
    const settings = conf('[[registry]]\nlocation = "a.example"\ninsecure = true')
    write('registries.conf.d/20.conf', '[[registry]]\nprefix = "a.example"\nlocation = "last.example"')
    write('registries.conf.d/10.conf', '[[registry]]\nprefix = "a.example"\nlocation = "first.example"')
    write('registries.conf.d/README', 'not TOML')
    expect((await endpoints(settings, 'a.example')).map(short)).toEqual([
      'last.example/v2/team/app verified mirror',
    ])
  })

  it('of a user is read in the place of the machine’s', async () => {
    write(
      'home/.config/containers/registries.conf',
      '[[registry]]\nprefix = "a.example"\nlocation = "own.example"',
    )
    const found = await files({ ignoreHostFiles: false }).endpointsFor(image('a.example'))
    expect(found.map(short)).toEqual(['own.example/v2/team/app verified mirror'])
  })

  it('without a name for the image is refused', async () => {
    const settings = conf('[[registry]]\nprefix = "a.example/team/app"\nlocation = "b.example"')
    expect((await failure(endpoints(settings, 'a.example'))).message).toContain(
      'has no name for team/app at b.example',
    )
  })

  it('that is broken is an error, and so is one that nobody may read as text', async () => {
    expect((await failure(endpoints(conf('['), 'a.example'))).code).toBe('configuration-invalid')
    const path = `${scratch}/registries.conf`
    writeFileSync(path, Buffer.from([0x22, 0xff]))
    expect((await failure(endpoints({ registriesConf: path }, 'a.example'))).facts.problem).toBe(
      'is not text in UTF-8',
    )
    writeFileSync(path, Buffer.alloc(2 ** 20 + 1, '#'))
    expect((await failure(endpoints({ registriesConf: path }, 'a.example'))).facts.problem).toContain(
      'more than',
    )
    mkdirSync(`${scratch}/directory`)
    expect(
      (await failure(endpoints({ registriesConf: `${scratch}/directory` }, 'a.example'))).facts.problem,
    ).toBe('is not a regular file')
  })

  it('warns of settings that nobody knows, once', async () => {
    const settings = conf('colour = "blue"\nunqualified-search-registries = ["x"]')
    const hosts = files(settings)
    await hosts.endpointsFor(image('a.example'))
    await hosts.endpointsFor(image('b.example'))
    expect(events).toEqual([
      {
        kind: 'warning',
        code: 'setting-unknown',
        message: `In "${settings.registriesConf}" there are settings that groot does not know: colour`,
        facts: { file: settings.registriesConf, keys: ['colour'] },
      },
    ])
  })

  it('has short names', async () => {
    const hosts = files(conf('[aliases]\nfedora = "registry.fedoraproject.org/fedora"'))
    expect(await hosts.expandAlias('fedora:40')).toBe('docker://registry.fedoraproject.org/fedora:40')
    expect(await hosts.expandAlias('debian')).toBeNull()
  })
})

describe('hosts.toml', () => {
  it('gives hosts in its order with all that it says, and the registry last', async () => {
    write('certs.d/docker.io/ca.pem', certificate.cert)
    write('certs.d/docker.io/client.cert', certificate.cert)
    write('certs.d/docker.io/client.key', certificate.key)
    write(
      'certs.d/docker.io/hosts.toml',
      `
      [host."https://mirror.example:5000/hub"]
        capabilities = ["pull"]
        ca = "ca.pem"
        client = [["client.cert", "client.key"]]
        dial_timeout = "2s"
        [host."https://mirror.example:5000/hub".header]
          X-Token = "abc"
      [host."http://plain.example"]
      [host."https://odd.example"]
        skip_verify = true
      [host."http://either.example"]
        skip_verify = true
      [host."https://push.example"]
        capabilities = ["push"]
    `,
    )
    const [first, ...rest] = await endpoints({}, HUB, 'library/alpine')
    expect(first).toEqual({
      host: 'mirror.example:5000',
      path: '/hub/v2',
      repository: 'library/alpine',
      security: 'verified',
      capabilities: new Set(['pull']),
      isMirror: true,
      namespace: 'docker.io',
      ca: [certificate.cert.trim()],
      client: [{ cert: certificate.cert, key: certificate.key }],
      headers: { 'x-token': 'abc' },
      connectTimeoutMs: 2000,
    })
    expect(rest.map(short)).toEqual([
      'plain.example/v2/library/alpine plain mirror ns=docker.io',
      'odd.example/v2/library/alpine unverified mirror ns=docker.io',
      'either.example/v2/library/alpine any mirror ns=docker.io',
      `${HUB}/v2/library/alpine verified itself`,
    ])
  })

  it.each([
    ['skip_verify = true', 'a.example', 'a.example/v2/team/app unverified itself'],
    ['skip_verify = true', '127.0.0.1:5000', '127.0.0.1:5000/v2/team/app any itself'],
    ['server = "http://a.example"', 'a.example', 'a.example/v2/team/app plain itself'],
    ['server = "https://a.example:443"', 'a.example', 'a.example/v2/team/app verified itself'],
    ['server = "https://a.example"', 'a.example:443', 'a.example:443/v2/team/app verified itself'],
    ['server = "http://a.example:443"', 'a.example', 'a.example:443/v2/team/app plain mirror ns=a.example'],
    ['server = "https://b.example"', 'a.example', 'b.example/v2/team/app verified mirror ns=a.example'],
    [
      'server = "https://a.example/x"\noverride_path = true',
      'a.example',
      'a.example/x/team/app verified itself',
    ],
  ])('with %j has for %s the server %s', async (text, registry, expected) => {
    write(`certs.d/${registry}/hosts.toml`, text)
    expect((await endpoints({}, registry)).map(short)).toEqual([expected])
  })

  it.each([
    ['a.example_5000_', 'one'],
    ['a.example:5000', 'two'],
    ['_default', 'three'],
  ])('in %s is taken when none is there before it', async (directory, mirror) => {
    const directories = ['a.example_5000_', 'a.example:5000', '_default']
    for (const later of directories.slice(directories.indexOf(directory))) {
      write(
        `certs.d/${later}/hosts.toml`,
        `[host."https://${later === directory ? mirror : 'wrong'}.example"]`,
      )
    }
    expect((await endpoints({}, 'a.example:5000'))[0]?.host).toBe(`${mirror}.example`)
  })

  it('in a directory of the registry goes before registries.conf, and that before _default', async () => {
    write('certs.d/_default/hosts.toml', '[host."https://default.example"]')
    write('certs.d/own.example/hosts.toml', '[host."https://own-mirror.example"]')
    mkdirSync(`${scratch}/certs.d/empty.example`)
    const settings = conf(
      ['own', 'conf']
        .map(
          (name) =>
            `[[registry]]\nlocation = "${name}.example"\n[[registry.mirror]]\nlocation = "conf-mirror.example"\n`,
        )
        .join(''),
    )
    const first = async (registry: string) => (await endpoints(settings, registry))[0]?.host
    expect(await first('own.example')).toBe('own-mirror.example')
    expect(await first('conf.example')).toBe('conf-mirror.example')
    expect(await first('any.example')).toBe('default.example')
    // As with containerd: a directory of its own, whatever is in it, takes a registry out of the default.
    expect(await first('empty.example')).toBe('empty.example')
  })

  it('that leaves nobody to pull from is refused', async () => {
    write('certs.d/a.example/hosts.toml', 'server = "https://a.example"\ncapabilities = ["push"]')
    const error = await failure(endpoints({}, 'a.example'))
    expect([error.code, error.facts.problem]).toEqual([
      'configuration-invalid',
      'leaves no host to pull from',
    ])
  })

  it('warns of settings that nobody knows', async () => {
    const file = write('certs.d/a.example/hosts.toml', 'colour = "blue"')
    await endpoints({}, 'a.example')
    expect(events).toMatchObject([{ code: 'setting-unknown', facts: { file, keys: ['colour'] } }])
  })
})

describe('certificates', () => {
  const tlsOf = async (registry: string, settings: RegistrySettings = {}) => {
    const [endpoint] = await endpoints(settings, registry)
    return { ca: endpoint?.ca, client: endpoint?.client }
  }
  const both = { ca: [certificate.cert.trim()], client: [{ cert: certificate.cert, key: certificate.key }] }

  it.each([
    'certs.d/a.example:5000',
    'certs.d/a.example_5000_',
    'home/.config/containers/certs.d/a.example:5000',
  ])('are found in %s', async (directory) => {
    write(`${directory}/ca.crt`, certificate.cert)
    write(`${directory}/client.cert`, certificate.cert)
    write(`${directory}/client.key`, certificate.key)
    expect(await tlsOf('a.example:5000', { ignoreHostFiles: false })).toEqual(both)
  })

  it('are found for mirrors of registries.conf too', async () => {
    write('certs.d/mirror.example/ca.crt', certificate.cert)
    const settings = conf(
      '[[registry]]\nlocation = "a.example"\n[[registry.mirror]]\nlocation = "mirror.example"',
    )
    expect((await endpoints(settings, 'a.example')).map(({ ca }) => ca)).toEqual([
      [certificate.cert.trim()],
      undefined,
    ])
  })

  it('may be several in one file, and one file for certificate and key', async () => {
    write('certs.d/a.example/ca.crt', `comment\n${certificate.cert}\n${other.cert}`)
    write('certs.d/a.example/both.cert', `${certificate.cert}${certificate.key}`)
    const pem = `${certificate.cert}${certificate.key}`
    expect(await tlsOf('a.example')).toEqual({
      ca: [`${certificate.cert.trim()}\n${other.cert.trim()}`],
      client: [{ cert: pem, key: pem }],
    })
  })

  it.each([
    ['ca.crt', 'garbage', 'has no certificate in PEM'],
    ['ca.crt', certificate.cert.replace(/[A-Za-z0-9+/]{20}\n/, '\n'), 'has a certificate that is damaged'],
    ['client.cert', 'garbage', /^cannot be shown: /],
    ['client.cert', `${certificate.cert}${other.key}`, /^cannot be shown: /],
  ])('in %s that are broken are refused (%#)', async (name, text, problem) => {
    const file = write(`certs.d/a.example/${name}`, text)
    const error = await failure(tlsOf('a.example'))
    expect([error.code, error.facts.file]).toEqual(['configuration-invalid', file])
    expect(error.facts.problem).toEqual(problem instanceof RegExp ? expect.stringMatching(problem) : problem)
    expect(error.message).not.toContain('PRIVATE KEY')
  })

  it('that hosts.toml names and that are not there are refused', async () => {
    write('certs.d/a.example/hosts.toml', 'ca = "gone.pem"')
    expect((await failure(tlsOf('a.example'))).facts).toEqual({
      file: `${scratch}/certs.d/a.example/gone.pem`,
      key: '',
      problem: 'is not there',
    })
  })

  it('of the system are those that Node does not have', () => {
    const bundle = write('bundle.pem', `${tls.rootCertificates[0]}\n${certificate.cert}${certificate.cert}`)
    expect(files({ environment: { SSL_CERT_FILE: bundle } }).certificates).toEqual([certificate.cert.trim()])
    expect(files().certificates).toEqual([])
    expect(() => files({ environment: { SSL_CERT_FILE: `${scratch}/gone` } }).certificates).toThrow(
      'is not there',
    )
  })

  it.skipIf(process.geteuid?.() === 0)(
    'that cannot be read are an error (needs another user than root)',
    async () => {
      chmodSync(write('certs.d/a.example/ca.crt', certificate.cert), 0)
      expect(await failure(tlsOf('a.example'))).toMatchObject({
        code: 'system-call',
        facts: { errno: 'EACCES' },
      })
    },
  )
})

describe('the word of the caller', () => {
  it('makes a host one for http, wherever it is named, and no other', async () => {
    write('certs.d/a.example/hosts.toml', '[host."https://mirror.example:80"]')
    const hosts = files({}, { insecureRegistries: ['mirror.example:80', 'b.example'] })
    expect((await hosts.endpointsFor(image('a.example'))).map(({ security }) => security)).toEqual([
      'plain',
      'verified',
    ])
    expect(['mirror.example', 'b.example', 'a.example'].map((host) => hosts.mayUseHttp(host))).toEqual([
      true,
      true,
      false,
    ])
  })

  it('on http may be that of files', async () => {
    const hosts = files(conf('[[registry]]\nlocation = "a.example"\ninsecure = true'))
    await hosts.endpointsFor(image('a.example'))
    expect([hosts.mayUseHttp('a.example'), hosts.mayUseHttp('b.example')]).toEqual([true, false])
  })
})

describe('credentials', () => {
  const auth = (user: string) => ({ auth: Buffer.from(`${user}:x`).toString('base64') })
  const settings = () => ({
    authFile: write(
      'auth.json',
      JSON.stringify({
        auths: { 'mirror.example': auth('mirror'), 'a.example/team': auth('team'), 'docker.io': auth('hub') },
      }),
    ),
    ...conf(
      '[[registry]]\nlocation = "a.example"\n[[registry.mirror]]\nlocation = "mirror.example"\n[[registry.mirror]]\nlocation = "docker.io/a"',
    ),
  })

  it('are those of each endpoint’s own host and repository', async () => {
    const hosts = files(settings())
    const found = await hosts.endpointsFor(image('a.example'))
    const credentials = await Promise.all(found.map((endpoint) => hosts.credentialsFor(endpoint, signal)))
    expect(credentials).toEqual(['mirror', 'hub', 'team'].map((username) => ({ username, password: 'x' })))
  })

  it.each([
    ['is not there', () => `${scratch}/nowhere`],
    ['is not JSON', () => write('malformed.json', '{')],
  ])('are looked for when they are asked for, and not before, in a named file that %s', async (_, path) => {
    const authFile = path()
    const hosts = files({ authFile })
    const [endpoint] = await hosts.endpointsFor(image('a.example'))
    const error = await failure(hosts.credentialsFor(endpoint!, signal))
    expect([error.code, error.facts.file]).toEqual(['configuration-invalid', authFile])
  })

  it('of the call go to the registry itself and to no mirror', async () => {
    const own = { username: 'own', password: 'y' }
    const hosts = files(settings(), { credentials: own })
    const found = await hosts.endpointsFor(image('a.example'))
    const credentials = await Promise.all(found.map((endpoint) => hosts.credentialsFor(endpoint, signal)))
    expect(credentials.map((it) => it !== null && 'username' in it && it.username)).toEqual([
      'mirror',
      'hub',
      'own',
    ])
  })
})

describe('a registry itself', () => {
  it('is known without mirrors', async () => {
    write('certs.d/a.example/hosts.toml', '[host."https://mirror.example"]\n[host."http://a.example"]')
    const hosts = files(
      conf(
        '[[registry]]\nlocation = "b.example"\ninsecure = true\n[[registry]]\nprefix = "c.example"\nlocation = "d.example"',
      ),
    )
    const found = await Promise.all(
      ['a.example', 'b.example', 'c.example'].map((name) => hosts.endpointOf(name)),
    )
    expect(found.map(({ host, security, isMirror }) => [host, security, isMirror])).toEqual([
      ['a.example', 'plain', false],
      ['b.example', 'any', false],
      ['c.example', 'verified', false],
    ])
  })
})
