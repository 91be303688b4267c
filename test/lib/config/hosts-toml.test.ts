import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { certificateFiles } from '../../../lib/config/certificate-files.js'
import { parseDuration } from '../../../lib/config/duration.js'
import { parseHostsToml } from '../../../lib/config/hosts-toml.js'
import { hostDirectories } from '../../../lib/config/names.js'
import { isGrootError } from '../../../lib/errors.js'
import { complaint } from './failing.js'

const FILE = '/etc/containerd/certs.d/docker.io/hosts.toml'
const parse = (text: string) => parseHostsToml(text, FILE)
const BOTH = new Set(['pull', 'resolve'])
const PLAIN = { capabilities: BOTH, ca: [], client: [], headers: {} }

describe('hosts.toml', () => {
  it('is read with all that containerd has in it, in its order', () => {
    const toml = parse(`
      server = "https://registry-1.docker.io"
      ca = "/etc/certs/server.pem"

      [host."https://z-mirror.example:5000/hub"]
        capabilities = ["pull", "resolve", "push"]
        ca = ["a.pem", "/etc/b.pem"]
        client = [["/c.cert", "/c.key"], ["d.pem", ""], "e.pem"]
        skip_verify = true
        dial_timeout = "1m30s"
        [host."https://z-mirror.example:5000/hub".header]
          X-Custom-2 = ["one", "two"]
          x-plain = "three"

      [host."http://a-mirror.example"]
        capabilities = ["Pull"]
        client = "both.pem"
        override_path = true
    `)
    expect(toml).toEqual({
      file: FILE,
      hosts: [
        {
          scheme: 'https',
          host: 'z-mirror.example:5000',
          path: '/hub/v2',
          capabilities: BOTH,
          ca: ['a.pem', '/etc/b.pem'],
          client: [
            { cert: '/c.cert', key: '/c.key' },
            { cert: 'd.pem', key: null },
            { cert: 'e.pem', key: null },
          ],
          skipVerify: true,
          headers: { 'x-custom-2': 'one, two', 'x-plain': 'three' },
          dialTimeoutMs: 90_000,
        },
        {
          scheme: 'http',
          host: 'a-mirror.example',
          path: '',
          capabilities: new Set(['pull']),
          ca: [],
          client: [{ cert: 'both.pem', key: null }],
          headers: {},
        },
      ],
      server: {
        scheme: 'https',
        host: 'registry-1.docker.io',
        path: '/v2',
        ...PLAIN,
        ca: ['/etc/certs/server.pem'],
      },
      serverOptions: { ...PLAIN, ca: ['/etc/certs/server.pem'] },
      unknown: [],
    })
  })

  it('may be empty', () => {
    expect(parse('')).toEqual({ file: FILE, hosts: [], server: null, serverOptions: PLAIN, unknown: [] })
  })

  it.each([
    ['mirror.example', 'https', 'mirror.example', '/v2'],
    ['https://mirror.example/', 'https', 'mirror.example', '/v2'],
    ['https://Mirror.Example:443/v2', 'https', 'mirror.example:443', '/v2'],
    ['https://mirror.example/v2/', 'https', 'mirror.example', '/v2'],
    ['https://mirror.example/a//b/./c/../v2x', 'https', 'mirror.example', '/a/b/v2x/v2'],
    ['https://mirror.example/../..', 'https', 'mirror.example', '/v2'],
    ['https://docker.io', 'https', 'registry-1.docker.io', '/v2'],
    ['http://[::1]:5000', 'http', '[::1]:5000', '/v2'],
  ])('takes %s for %s, %s and %s', (address, scheme, host, path) => {
    const [found] = parse(`[host."${address}"]`).hosts
    expect(found).toEqual({ scheme, host, path, ...PLAIN })
  })

  it.each([
    ['https://mirror.example/x', '/x'],
    ['https://mirror.example/x/v2', '/x/v2'],
    ['https://mirror.example', ''],
  ])('leaves the path of %s as it is with override_path', (address, path) => {
    expect(parse(`server = "${address}"\noverride_path = true`).server?.path).toBe(path)
  })

  it('says which keys it does not know', () => {
    expect(parse('colour = 1\n[host."a.example"]\nweight = 2').unknown).toEqual([
      'colour',
      'host["a.example"].weight',
    ])
  })

  it.each([
    ['server = 5', 'server'],
    ['server = "ftp://a.example"', 'server'],
    ['server = "https://user:secret@a.example"', 'server'],
    ['server = "https://a.example?x=1"', 'server'],
    ['server = "https://a.example/%zz"', 'server'],
    ['host = "a.example"', 'host'],
    ['[host]\n"a.example" = 1', 'host["a.example"]'],
    ['[host."a b"]', 'host["a b"]'],
    ['[host."a"]\ncapabilities = ["delete"]', 'host.a.capabilities'],
    ['[host."a"]\ncapabilities = "pull"', 'host.a.capabilities'],
    ['[host."a"]\nca = 1', 'host.a.ca'],
    ['[host."a"]\nca = [1]', 'host.a.ca[0]'],
    ['[host."a"]\nclient = [["one"]]', 'host.a.client[0]'],
    ['[host."a"]\nclient = [["one", "two", "three"]]', 'host.a.client[0]'],
    ['[host."a"]\nclient = true', 'host.a.client'],
    ['[host."a"]\nskip_verify = "no"', 'host.a.skip_verify'],
    ['[host."a"]\noverride_path = 1', 'host.a.override_path'],
    ['[host."a"]\ndial_timeout = "soon"', 'host.a.dial_timeout'],
    ['[host."a"]\ndial_timeout = "-1s"', 'host.a.dial_timeout'],
    ['[host."a".header]\n"x y" = "1"', 'host.a.header["x y"]'],
    ['[host."a".header]\nHost = "b"', 'host.a.header.Host'],
    ['[host."a".header]\ncontent-length = "1"', 'host.a.header.content-length'],
    ['[host."a".header]\nx = "a\\nb"', 'host.a.header.x'],
    ['[host."a".header]\nx = {y = 1}', 'host.a.header.x'],
    ['[host."a".header]\nx = 1', 'host.a.header.x'],
    ['[host."a".header]\n__proto__ = 1', 'host.a.header.__proto__'],
  ])('refuses %j and names the key %j', (text, key) => {
    expect(complaint(() => parse(text))).toEqual(['configuration-invalid', 2, FILE, key])
  })

  it('does not show what stands in it', () => {
    const text = '[host."a".header]\nauthorization = "hunter2\\n"'
    expect(() => parse(text)).toThrow(
      /^Cannot use "[^"]*": host\.a\.header\.authorization has a value that no header can have$/,
    )
  })

  it('is read, or refused with an error of groot, whatever the text', () => {
    const value = fc.oneof(
      fc.constantFrom(
        '"x"',
        '["x"]',
        '[["x","y"]]',
        '1',
        'true',
        '{}',
        '"pull"',
        '["pull"]',
        '"1s"',
        '1979-05-27',
      ),
      fc.string().map((text) => JSON.stringify(text)),
    )
    const key = fc.constantFrom(
      'capabilities',
      'ca',
      'client',
      'skip_verify',
      'header',
      'dial_timeout',
      'server',
    )
    const line = fc.oneof(
      fc.tuple(key, value).map(([name, text]) => `${name} = ${text}`),
      fc.string().map((text) => `[host.${JSON.stringify(text)}]`),
      fc.string(),
    )
    fc.assert(
      fc.property(fc.array(line, { maxLength: 8 }), (lines) => {
        try {
          parse(lines.join('\n'))
        } catch (error) {
          expect(isGrootError(error) && error.code).toBe('configuration-invalid')
        }
      }),
      { numRuns: 500 },
    )
  })
})

describe('durations', () => {
  it.each([
    ['0', 0],
    ['300ms', 300],
    ['1.5s', 1500],
    ['2h45m.5s', 9_900_500],
    ['1us', 0.001],
    ['', null],
    ['5', null],
    ['1s ', null],
    ['+1s', null],
    ['-1s', null],
    ['1d', null],
    ['s', null],
    [`${'1s'.repeat(40)}`, null],
  ])('%j are %s ms', (text, ms) => {
    expect(parseDuration(text)).toBe(ms)
  })
})

describe('directories', () => {
  it.each([
    ['docker.io', ['docker.io']],
    ['a.example:5000', ['a.example_5000_', 'a.example:5000']],
    ['[::1]:5000', ['[::1]_5000_', '[::1]:5000']],
    ['[::1]', ['[::1]']],
  ])('of %s are %j', (name, expected) => {
    expect(hostDirectories(name)).toEqual(expected)
  })

  it('have certificates by the ends of names', () => {
    const names = ['z.crt', 'a.crt', 'hosts.toml', 'client.key', 'client.cert', 'both.cert', 'README']
    expect(certificateFiles('/d', names)).toEqual({
      ca: ['a.crt', 'z.crt'],
      client: [
        { cert: 'both.cert', key: null },
        { cert: 'client.cert', key: 'client.key' },
      ],
    })
  })

  it('with a key and no certificate are refused', () => {
    expect(complaint(() => certificateFiles('/d', ['client.key', 'client.crt']))).toEqual([
      'configuration-invalid',
      2,
      '/d/client.key',
      '',
    ])
  })
})
