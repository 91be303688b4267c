import { describe, expect, it } from 'vitest'
import {
  authPlaces,
  certificatePlaces,
  hostsPlace,
  loginPlace,
  proxySettings,
  registriesConfPlaces,
  systemCertificates,
} from '../../../lib/config/places.js'
import { type RegistrySettings, registryEnvironment } from '../../../lib/config/settings.js'

const USER = { uid: 1000, home: '/home/u' }
const ROOT = { uid: 0, home: '/root' }
const paths = (places: readonly { readonly path: string }[]) => places.map(({ path }) => path)

describe('credentials', () => {
  it.each<[RegistrySettings, string[]]>([
    [
      {},
      [
        '/run/containers/1000/auth.json',
        '/home/u/.config/containers/auth.json',
        '/home/u/.docker/config.json',
        '/home/u/.dockercfg',
      ],
    ],
    [
      {
        environment: {
          HOME: '/h',
          XDG_RUNTIME_DIR: '/run/user/5',
          XDG_CONFIG_HOME: '/c/',
          DOCKER_CONFIG: '/d',
        },
      },
      ['/d/config.json', '/run/user/5/containers/auth.json', '/c/containers/auth.json', '/h/.dockercfg'],
    ],
    [
      { environment: { HOME: 'h', XDG_RUNTIME_DIR: 'run', XDG_CONFIG_HOME: 'c' } },
      [
        '/run/containers/1000/auth.json',
        '/home/u/.config/containers/auth.json',
        '/home/u/.docker/config.json',
        '/home/u/.dockercfg',
      ],
    ],
    [{ environment: { REGISTRY_AUTH_FILE: '/r', DOCKER_CONFIG: '/d' } }, ['/r']],
    [{ authFile: '/a', environment: { REGISTRY_AUTH_FILE: '/r' } }, ['/a']],
    [{ ignoreHostFiles: true }, []],
    [{ ignoreHostFiles: true, authFile: '/a' }, ['/a']],
  ])('with %j are looked for in %j', (settings, expected) => {
    expect(paths(authPlaces(settings, USER))).toEqual(expected)
  })

  it('are in a file that has to be there when it was named', () => {
    expect(authPlaces({ authFile: '/a' }, USER)).toEqual([{ path: '/a', isNamed: true, format: 'config' }])
    expect(authPlaces({}, USER).at(-1)).toEqual({
      path: '/home/u/.dockercfg',
      isNamed: false,
      format: 'legacy',
    })
    expect(paths(authPlaces({}, { uid: 7, home: null }))).toEqual(['/run/containers/7/auth.json'])
  })

  it.each<[RegistrySettings, string]>([
    [{}, '/home/u/.docker/config.json'],
    [{ environment: { DOCKER_CONFIG: '/d' } }, '/d/config.json'],
    [{ environment: { DOCKER_CONFIG: '/d', REGISTRY_AUTH_FILE: '/r' } }, '/r'],
    [{ authFile: '/a', environment: { REGISTRY_AUTH_FILE: '/r' } }, '/a'],
  ])('with %j are kept in %s', (settings, expected) => {
    expect(loginPlace(settings, USER)).toBe(expected)
  })

  it('are kept nowhere without a home', () => {
    expect(loginPlace({}, { uid: 7, home: null })).toBeNull()
  })
})

describe('registries.conf', () => {
  const where = (settings: RegistrySettings, around: typeof USER, own: boolean) => {
    const { files, directories } = registriesConfPlaces(settings, around, () => own)
    return [paths(files), directories]
  }
  const MACHINE = '/etc/containers/registries.conf'
  const OWN = '/home/u/.config/containers/registries.conf'

  it.each<[string, unknown, unknown]>([
    ['root', where({}, ROOT, true), [[MACHINE], [`${MACHINE}.d`]]],
    ['a user with a file', where({}, USER, true), [[OWN], [`${OWN}.d`]]],
    ['a user without', where({}, USER, false), [[MACHINE], [`${MACHINE}.d`, `${OWN}.d`]]],
    ['a named file', where({ registriesConf: '/f' }, USER, true), [['/f'], ['/f.d']]],
    [
      'a variable',
      where({ environment: { CONTAINERS_REGISTRIES_CONF: '/v' } }, ROOT, true),
      [['/v'], ['/v.d']],
    ],
    ['nobody', where({ ignoreHostFiles: true }, USER, true), [[], []]],
  ])('for %s', (_, found, expected) => {
    expect(found).toEqual(expected)
  })
})

describe('certs.d', () => {
  it('is where it was named, else where containerd, podman and Docker have it', () => {
    expect(hostsPlace({})).toEqual({ path: '/etc/containerd/certs.d', isNamed: false })
    expect(hostsPlace({ environment: { GROOT_CERTS_D: '/g' } })).toEqual({ path: '/g', isNamed: true })
    expect(hostsPlace({ certsDirectory: '/c', environment: { GROOT_CERTS_D: '/g' } })?.path).toBe('/c')
    expect(hostsPlace({ ignoreHostFiles: true })).toBeNull()
    expect(certificatePlaces({}, ROOT)).toEqual(['/etc/containers/certs.d', '/etc/docker/certs.d'])
    expect(certificatePlaces({}, USER)[0]).toBe('/home/u/.config/containers/certs.d')
    expect(certificatePlaces({ ignoreHostFiles: true }, USER)).toEqual([])
  })

  it('of the system is where distributions have it, or SSL_CERT_FILE', () => {
    expect(systemCertificates({})[0]?.path).toBe('/etc/ssl/certs/ca-certificates.crt')
    expect(systemCertificates({ environment: { SSL_CERT_FILE: '/s' } })).toEqual([
      { path: '/s', isNamed: true },
    ])
    expect(systemCertificates({ ignoreHostFiles: true })).toEqual([])
  })
})

describe('the environment', () => {
  it('is reduced to what matters', () => {
    const env = {
      HOME: '/h',
      PATH: '/bin',
      DOCKER_CONFIG: '',
      SECRET: 'x',
      HTTPS_PROXY: 'http://p',
      no_proxy: 'a',
    }
    expect(registryEnvironment(env)).toEqual({ HOME: '/h', HTTPS_PROXY: 'http://p', no_proxy: 'a' })
  })

  it('has proxies in upper case and in lower case', () => {
    const environment = { HTTP_PROXY: 'http://a', http_proxy: 'http://b', https_proxy: 'http://c' }
    expect(proxySettings({ environment })).toEqual({ http: 'http://a', https: 'http://c' })
    expect(proxySettings({})).toEqual({})
  })
})
