import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { findEntry, type NamedImage, pullSources } from '../../../lib/config/pull-sources.js'
import { mergeRegistriesConf, type RegistriesConf } from '../../../lib/config/registries.js'
import { parseRegistriesConf } from '../../../lib/config/registries-conf.js'
import { expandAlias } from '../../../lib/config/short-names.js'
import { isGrootError } from '../../../lib/errors.js'
import { complaint } from './failing.js'

const FILE = '/etc/containers/registries.conf'
const parse = (text: string, file = FILE) => parseRegistriesConf(text, file)
const DIGEST = `sha256:${'a'.repeat(64)}`

/** `registry/repository[:tag][@digest]` as the parser of references hands it over. */
function image(text: string): NamedImage {
  const [, name = '', tag, digest] = /^([^@]*?)(?::([^/@]+))?(?:@(.+))?$/.exec(text) ?? []
  const slash = name.indexOf('/')
  return {
    registry: name.slice(0, slash),
    repository: name.slice(slash + 1),
    ...(tag === undefined ? {} : { tag }),
    ...(digest === undefined ? {} : { digest }),
  }
}

/** Sources in short: `host/repository`, `!` for insecure ones, `m ` before mirrors. */
function sources(conf: RegistriesConf, text: string): string[] | null {
  const found = pullSources(conf, image(text))
  return (
    found?.map(
      ({ host, repository, isInsecure, isMirror }) =>
        `${isMirror ? 'm ' : ''}${host}/${repository}${isInsecure ? ' !' : ''}`,
    ) ?? null
  )
}

describe('registries.conf', () => {
  it('is read with all that podman has in it', () => {
    const conf = parse(`
      unqualified-search-registries = ["docker.io"]
      short-name-mode = "enforcing"
      credential-helpers = ["containers-auth.json", "secretservice"]

      [[registry]]
      prefix = "Example.com/foo/"
      location = "internal.example:5000/bar"
      insecure = true
      [[registry.mirror]]
      location = "mirror-1.example"
      [[registry.mirror]]
      location = "mirror-2.example/hub"
      insecure = true
      pull-from-mirror = "digest-only"

      [[registry]]
      location = "evil.example"
      blocked = true

      [aliases]
      "fedora" = "registry.fedoraproject.org/fedora"
      "gone" = ""
    `)
    expect(conf).toEqual({
      registries: new Map([
        [
          'example.com/foo',
          {
            prefix: 'example.com/foo',
            location: { host: 'internal.example:5000', path: 'bar' },
            isInsecure: true,
            isBlocked: false,
            mirrors: [
              { location: { host: 'mirror-1.example', path: '' }, isInsecure: false, pullFrom: 'all' },
              {
                location: { host: 'mirror-2.example', path: 'hub' },
                isInsecure: true,
                pullFrom: 'digest-only',
              },
            ],
            file: FILE,
          },
        ],
        [
          'evil.example',
          {
            prefix: 'evil.example',
            location: { host: 'evil.example', path: '' },
            isInsecure: false,
            isBlocked: true,
            mirrors: [],
            file: FILE,
          },
        ],
      ]),
      aliases: new Map([
        ['fedora', 'registry.fedoraproject.org/fedora'],
        ['gone', ''],
      ]),
      credentialHelpers: ['containers-auth.json', 'secretservice'],
      unknown: [],
    })
  })

  it('says which keys it does not know', () => {
    const { unknown } = parse(`
      colour = "blue"
      [[registry]]
      location = "a.example"
      search = true
      [[registry.mirror]]
      location = "b.example"
      weight = 3
    `)
    expect(unknown).toEqual(['colour', 'registry[0].search', 'registry[0].mirror[0].weight'])
  })

  it.each([
    ['[registries.search]\nregistries = []', 'registries'],
    ['[[registry]]\nlocation = "https://a.example"', 'registry[0].location'],
    ['[[registry]]\nlocation = "a b"', 'registry[0].location'],
    ['[[registry]]\nlocation = "a.example/UPPER"', 'registry[0].location'],
    ['[[registry]]\nlocation = "user@a.example"', 'registry[0].location'],
    ['[[registry]]\nlocation = 5', 'registry[0].location'],
    ['[[registry]]\nprefix = "example.*.com"', 'registry[0].prefix'],
    ['[[registry]]\nprefix = "a.example/../b"', 'registry[0].prefix'],
    ['[[registry]]\ninsecure = true', 'registry[0]'],
    ['[[registry]]\nlocation = "a.example"\ninsecure = "yes"', 'registry[0].insecure'],
    ['registry = "a.example"', 'registry'],
    ['registry = ["a.example"]', 'registry[0]'],
    [
      '[[registry]]\nlocation = "a.example"\n[[registry.mirror]]\ninsecure = true',
      'registry[0].mirror[0].location',
    ],
    [
      '[[registry]]\nlocation = "a.example"\n[[registry.mirror]]\nlocation = "b.example"\npull-from-mirror = "never"',
      'registry[0].mirror[0].pull-from-mirror',
    ],
    [
      '[[registry]]\nlocation = "a.example"\nmirror-by-digest-only = true\n[[registry.mirror]]\nlocation = "b.example"\npull-from-mirror = "all"',
      'registry[0].mirror[0].pull-from-mirror',
    ],
    [
      '[[registry]]\nlocation = "a.example"\n[[registry]]\nlocation = "a.example"\nblocked = true',
      'registry[1]',
    ],
    ['[aliases]\nfedora = "fedora"', 'aliases.fedora'],
    ['[aliases]\nfedora = "a.example/fedora:40"', 'aliases.fedora'],
    ['[aliases]\nfedora = 1', 'aliases.fedora'],
    ['credential-helpers = ["../evil"]', 'credential-helpers[0]'],
    ['unqualified-search-registries = "docker.io"', 'unqualified-search-registries'],
    ['[[registry', ''],
    ['a = 1\na = 2', ''],
  ])('refuses %j and names the key %j', (text, key) => {
    expect(complaint(() => parse(text))).toEqual(['configuration-invalid', 2, FILE, key])
  })

  it('says where the text is no TOML, and does not quote it', () => {
    const text = 'short-name-mode = "x"\nsecret = hunter2'
    expect(() => parse(text)).toThrow(/^Cannot use ".*": it is not TOML at line 2, column \d+$/)
  })

  it('refuses what is nested too deep or too large', () => {
    for (const text of [`a = ${'['.repeat(5000)}`, `a = "${'x'.repeat(2 ** 20)}"`]) {
      expect(complaint(() => parse(text))).toEqual(['configuration-invalid', 2, FILE, ''])
    }
  })

  it('is read, or refused with an error of groot, whatever the text', () => {
    const key = fc.constantFrom(
      'prefix',
      'location',
      'insecure',
      'mirror',
      '"a b"',
      '__proto__',
      'constructor',
    )
    const value = fc.constantFrom(
      '"a.example"',
      '"*.b"',
      'true',
      '[]',
      '{}',
      '1979-05-27',
      '[{location="x"}]',
      '""',
    )
    const line = fc.oneof(
      fc.tuple(key, value).map(([name, text]) => `${name} = ${text}`),
      fc.constantFrom('[[registry]]', '[[registry.mirror]]', '[aliases]', '[registry]'),
      fc.string(),
    )
    fc.assert(
      fc.property(fc.array(line, { maxLength: 12 }), (lines) => {
        try {
          const conf = parse(lines.join('\n'))
          pullSources(conf, image('a.example/x:1'))
        } catch (error) {
          expect(isGrootError(error) && error.code).toBe('configuration-invalid')
        }
      }),
      { numRuns: 500 },
    )
  })
})

describe('several files', () => {
  const merged = mergeRegistriesConf([
    parse(
      '[[registry]]\nlocation = "a.example"\n[[registry]]\nlocation = "b.example"\n[aliases]\nx = "a.example/x"',
    ),
    parse(
      'credential-helpers = ["one"]\n[[registry]]\nprefix = "a.example"\nlocation = "c.example"',
      '/d/10.conf',
    ),
    parse('[aliases]\nx = ""\ny = "b.example/y"', '/d/20.conf'),
  ])

  it('are merged by prefix and name, later ones over earlier ones', () => {
    expect(
      [...merged.registries.values()].map(({ prefix, location, file }) => [prefix, location?.host, file]),
    ).toEqual([
      ['a.example', 'c.example', '/d/10.conf'],
      ['b.example', 'b.example', FILE],
    ])
    expect([merged.aliases.get('x'), merged.aliases.get('y'), merged.credentialHelpers]).toEqual([
      '',
      'b.example/y',
      ['one'],
    ])
  })
})

describe('the entry for an image', () => {
  const prefixes = [
    'example.com',
    'example.com/ns',
    'example.com/ns/app:v1',
    'example.com:5000',
    '*.example.com',
    '*.sub.example.com',
    'one.sub.example.com',
    '*.example.com/team',
    'docker.io',
    'index.docker.io/library',
  ]
  const conf = parse(prefixes.map((prefix) => `[[registry]]\nprefix = "${prefix}"\n`).join(''))

  it.each([
    ['example.com/app', 'example.com'],
    ['example.com/ns/app', 'example.com/ns'],
    ['example.com/nsx/app', 'example.com'],
    ['example.com/ns/app:v1', 'example.com/ns/app:v1'],
    ['example.com/ns/app:v1x', 'example.com/ns'],
    ['example.com/ns', 'example.com/ns'],
    ['example.com:5000/app', 'example.com:5000'],
    ['example.com:5001/app', null],
    ['xexample.com/app', null],
    ['a.example.com/app', '*.example.com'],
    ['a.example.com:77/app', '*.example.com'],
    ['a.b.example.com/app', '*.example.com'],
    ['a.sub.example.com/app', '*.sub.example.com'],
    ['one.sub.example.com/app', 'one.sub.example.com'],
    ['a.example.com/team/app', '*.example.com/team'],
    ['a.example.com/teams/app', '*.example.com'],
    ['b.example/a.example.com', null],
    ['registry-1.docker.io/grafana/agent', 'docker.io'],
    ['registry-1.docker.io/library/alpine:3', 'docker.io/library'],
  ])('%s has the prefix %s', (text, prefix) => {
    expect(findEntry(conf, image(text))?.prefix ?? null).toBe(prefix)
  })
})

describe('sources', () => {
  it('are the mirrors and then the registry, each with what is behind the prefix', () => {
    const conf = parse(`
      [[registry]]
      prefix = "example.com/team"
      location = "internal.example/a"
      [[registry.mirror]]
      location = "mirror.example:5000"
      insecure = true
      [[registry.mirror]]
      location = "cache.example/deep/er"
    `)
    expect(sources(conf, 'example.com/team/app:v1')).toEqual([
      'm mirror.example:5000/app !',
      'm cache.example/deep/er/app',
      'm internal.example/a/app',
    ])
    expect(sources(conf, 'example.com/team')).toEqual([
      'm mirror.example:5000/ !',
      'm cache.example/deep/er',
      'm internal.example/a',
    ])
    expect(sources(conf, 'example.com/other')).toBeNull()
  })

  it('of Docker Hub keep its full names and its host', () => {
    const conf = parse('[[registry]]\nlocation = "docker.io"\n[[registry.mirror]]\nlocation = "hub.example"')
    expect(sources(conf, 'registry-1.docker.io/library/alpine:3')).toEqual([
      'm hub.example/library/alpine',
      'registry-1.docker.io/library/alpine',
    ])
  })

  it('of a wildcard have the whole host in its place', () => {
    const conf = parse('[[registry]]\nprefix = "*.example.com"\nlocation = "all.example/x"')
    expect(sources(conf, 'a.b.example.com:5000/app')).toEqual(['m all.example/x/app'])
    const same = parse('[[registry]]\nprefix = "*.example.com"\ninsecure = true')
    expect(sources(same, 'a.example.com/app')).toEqual(['a.example.com/app !'])
  })

  it.each([
    ['app:v1', ['m all.example/app', 'm tag.example/app', 'a.example/app']],
    [`app@${DIGEST}`, ['m all.example/app', 'm digest.example/app', 'a.example/app']],
    [`app:v1@${DIGEST}`, ['m all.example/app', 'm digest.example/app', 'a.example/app']],
  ])('for %s are those that are for such references', (name, expected) => {
    const mirror = (location: string, pull: string) =>
      `[[registry.mirror]]\nlocation = "${location}"\npull-from-mirror = "${pull}"\n`
    const conf = parse(
      `[[registry]]\nlocation = "a.example"\n${mirror('all.example', 'all')}${mirror('digest.example', 'digest-only')}${mirror('tag.example', 'tag-only')}`,
    )
    expect(sources(conf, `a.example/${name}`)).toEqual(expected)
  })

  it('by mirror-by-digest-only leave tags to the registry', () => {
    const conf = parse(
      '[[registry]]\nlocation = "a.example"\nmirror-by-digest-only = true\n[[registry.mirror]]\nlocation = "b.example"',
    )
    expect(sources(conf, 'a.example/app:v1')).toEqual(['a.example/app'])
    expect(sources(conf, `a.example/app@${DIGEST}`)).toEqual(['m b.example/app', 'a.example/app'])
  })
})

describe('aliases', () => {
  const aliases = new Map([
    ['fedora', 'registry.fedoraproject.org/fedora'],
    ['grafana/agent', 'docker.io/grafana/agent'],
    ['gone', ''],
  ])

  it.each([
    ['fedora', 'docker://registry.fedoraproject.org/fedora'],
    ['fedora:40', 'docker://registry.fedoraproject.org/fedora:40'],
    [`fedora:40@${DIGEST}`, `docker://registry.fedoraproject.org/fedora:40@${DIGEST}`],
    ['grafana/agent:1', 'docker://docker.io/grafana/agent:1'],
    ['gone', null],
    ['fedora/x', null],
    ['./fedora', null],
    ['fedora.tar', null],
    ['example.com/fedora', null],
    ['localhost/fedora', null],
    ['__proto__', null],
  ])('%s stands for %s', (text, expected) => {
    expect(expandAlias(text, aliases)).toBe(expected)
  })
})
