import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { hasEntry, withEntry, withoutEntry } from '../../../lib/config/auth-edit.js'
import { parseAuthFile, placesInFile } from '../../../lib/config/auth-file.js'
import { isGrootError } from '../../../lib/errors.js'
import { complaint } from './failing.js'

const FILE = '/home/u/.docker/config.json'
const HUB = 'registry-1.docker.io'
const base64 = (text: string) => Buffer.from(text).toString('base64')
const auth = (text: string) => ({ auth: base64(text) })

function places(document: unknown, registry: string, repository?: string) {
  return placesInFile(parseAuthFile(JSON.stringify(document), FILE, 'config'), registry, repository)
}

/** The user name of the entry that counts. */
function user(auths: Record<string, unknown>, registry: string, repository?: string): string | null {
  const [place] = places({ auths }, registry, repository)
  return place?.kind === 'entry' && 'username' in place.credentials ? place.credentials.username : null
}

describe('an entry', () => {
  it.each([
    [auth('me:secret'), { username: 'me', password: 'secret' }],
    [auth('me:se:cr:et'), { username: 'me', password: 'se:cr:et' }],
    [auth('mé:sécret'), { username: 'mé', password: 'sécret' }],
    [auth('me:'), { username: 'me', password: '' }],
    [auth('me:secret\0\0'), { username: 'me', password: 'secret' }],
    [{ auth: `${base64('me:secret!!')}\n` }, { username: 'me', password: 'secret!!' }],
    [
      { username: 'me', password: 'x' },
      { username: 'me', password: 'x' },
    ],
    [{ ...auth('me:old'), identitytoken: 'refresh' }, { identityToken: 'refresh' }],
    [{ identitytoken: 'refresh' }, { identityToken: 'refresh' }],
  ])('like %j is understood', (entry, credentials) => {
    expect(places({ auths: { 'a.example': entry } }, 'a.example')).toEqual([{ kind: 'entry', credentials }])
  })

  it.each([{}, { auth: '' }, { email: 'me@a.example' }, null])('like %j has no credentials', (entry) => {
    expect(places({ auths: { 'a.example': entry } }, 'a.example')).toEqual([])
  })

  it.each([
    [{ auth: '!!!!' }, 'auths["a.example"].auth'],
    [auth('hunter2'), 'auths["a.example"].auth'],
    [auth(':hunter2'), 'auths["a.example"].auth'],
    [{ auth: 5 }, 'auths["a.example"].auth'],
    [{ username: 'me', password: 5 }, 'auths["a.example"].password'],
    [{ identitytoken: [] }, 'auths["a.example"].identitytoken'],
    ['text', 'auths["a.example"]'],
  ])('like %j is refused, and not shown', (entry, key) => {
    const read = () => places({ auths: { 'a.example': entry } }, 'a.example')
    expect(complaint(read)).toEqual(['configuration-invalid', 2, FILE, key])
    expect(read).not.toThrow(/hunter2|aHVudGVyMg/)
  })

  it('that is damaged keeps nobody from others', () => {
    expect(user({ 'b.example': { auth: '!' }, 'a.example': auth('me:x') }, 'a.example')).toBe('me')
  })
})

describe('the entry that counts', () => {
  const auths = {
    'https://a.example/v1/': auth('address:x'),
    'a.example': auth('host:x'),
    'a.example/team': auth('namespace:x'),
    'a.example/team/app': auth('repository:x'),
    'a.example:5000': auth('port:x'),
    'http://b.example': auth('http:x'),
    'B.Example:5000/v2/': auth('version:x'),
    'not a host!': auth('never:x'),
    '': auth('never:x'),
  }
  it.each([
    ['a.example', 'team/app', 'repository'],
    ['a.example', 'team/other', 'namespace'],
    ['a.example', 'teams/app', 'host'],
    ['a.example', 'team/app/deeper', 'repository'],
    ['a.example', undefined, 'host'],
    ['a.example:5000', 'team/app', 'port'],
    ['a.example:5001', 'team/app', null],
    ['b.example', 'x', 'http'],
    ['b.example:5000', 'x', 'version'],
    ['example', 'x', null],
  ])('for %s and %s is that of the %s', (registry, repository, expected) => {
    expect(user(auths, registry, repository)).toBe(expected)
  })

  it.each([
    ['https://index.docker.io/v1/'],
    ['index.docker.io'],
    ['docker.io'],
    ['registry-1.docker.io'],
    ['https://registry-1.docker.io/v2/'],
    ['docker.io/library'],
    ['index.docker.io/library/alpine'],
  ])('for Docker Hub may be under %s', (key) => {
    expect(user({ [key]: auth('hub:x') }, HUB, 'library/alpine')).toBe('hub')
  })

  it('for Docker Hub is not under a name that it only looks like', () => {
    expect(
      user({ 'evil-docker.io': auth('x:x'), 'docker.io.evil.example': auth('x:x') }, HUB, 'library/a'),
    ).toBeNull()
  })
})

describe('helpers', () => {
  const document = {
    auths: { 'a.example': {}, 'b.example': auth('file:x') },
    credHelpers: { 'a.example': 'own', 'b.example': '' },
    credsStore: 'pass',
  }

  it('of a registry go before the one for all, and both before entries', () => {
    expect(places(document, 'a.example', 'x')).toEqual([
      { kind: 'helper', name: 'own', addresses: ['a.example'] },
    ])
    expect(places(document, 'b.example', 'x')).toEqual([
      { kind: 'helper', name: 'pass', addresses: ['b.example'] },
      { kind: 'entry', credentials: { username: 'file', password: 'x' } },
    ])
  })

  it.each([
    [{ credsStore: 'pass' }, ['https://index.docker.io/v1/', 'docker.io']],
    [{ credHelpers: { 'docker.io': 'pass' } }, ['docker.io', 'https://index.docker.io/v1/']],
    [
      { credHelpers: { 'index.docker.io': 'pass' } },
      ['index.docker.io', 'https://index.docker.io/v1/', 'docker.io'],
    ],
  ])('for Docker Hub by %j are asked for %j', (settings, addresses) => {
    expect(places(settings, HUB, 'library/alpine')).toEqual([{ kind: 'helper', name: 'pass', addresses }])
  })

  it.each(['', '../evil', '/bin/sh', 'a b', 'a;b', '-x', '.x', 'x.', 'x\0', 'ä', 'x'.repeat(65)])(
    'with the name %j are none',
    (name) => {
      const read = () => places({ credsStore: name }, 'a.example')
      if (name === '') expect(read()).toEqual([])
      else expect(complaint(read)).toEqual(['configuration-invalid', 2, FILE, 'credsStore'])
    },
  )
})

describe('a file', () => {
  it.each(['', '{}', ' \n', '{"auths":{}}', '{"auths":null}', '{"HttpHeaders":{"a":"b"},"proxies":{}}'])(
    'like %j has nothing',
    (text) => {
      expect(placesInFile(parseAuthFile(text, FILE, 'config'), 'a.example', 'x')).toEqual([])
    },
  )

  it('of the old form is all entries', () => {
    const text = JSON.stringify({ 'https://a.example/v1/': { ...auth('me:x'), email: 'e' } })
    expect(placesInFile(parseAuthFile(text, FILE, 'legacy'), 'a.example', 'x')).toEqual([
      { kind: 'entry', credentials: { username: 'me', password: 'x' } },
    ])
  })

  it.each([
    ['{', ''],
    ['[]', ''],
    ['"hunter2"', ''],
    ['null', ''],
    ['{"auths":[]}', 'auths'],
    ['{"credHelpers":"x"}', 'credHelpers'],
    ['{"credsStore":5}', 'credsStore'],
  ])('like %j is refused', (text, key) => {
    expect(complaint(() => parseAuthFile(text, FILE, 'config'))).toEqual([
      'configuration-invalid',
      2,
      FILE,
      key,
    ])
  })

  it.each([
    ['null', 'null'],
    ['[]', 'a list'],
    ['5', 'a number'],
  ])('like %j is called what it is', (text, kind) => {
    expect(() => parseAuthFile(text, FILE, 'config')).toThrow(
      `Cannot use "${FILE}": it is ${kind}, not a table`,
    )
  })

  it('is read, or refused with an error of groot, whatever is in it', () => {
    const document = fc.oneof(
      fc.json(),
      fc.string(),
      fc
        .record({ auths: fc.dictionary(fc.string(), fc.jsonValue()), credHelpers: fc.jsonValue() })
        .map((value) => JSON.stringify(value)),
    )
    fc.assert(
      fc.property(document, (text) => {
        try {
          placesInFile(parseAuthFile(text, FILE, 'config'), 'a.example', 'x')
          const changed = withEntry(text, FILE, 'a.example', { username: 'me', password: 'x' })
          expect(hasEntry(changed, FILE, 'a.example')).toBe(true)
        } catch (error) {
          expect(isGrootError(error) && error.code).toBe('configuration-invalid')
        }
      }),
      { numRuns: 500 },
    )
  })
})

describe('an edit', () => {
  const credentials = { username: 'me', password: 'pä:ss' }

  it('makes a new file', () => {
    expect(withEntry('', FILE, 'a.example', credentials)).toBe(
      `{\n\t"auths": {\n\t\t"a.example": {\n\t\t\t"auth": "${base64('me:pä:ss')}"\n\t\t}\n\t}\n}\n`,
    )
  })

  it('calls Docker Hub as Docker does, and takes its other names away', () => {
    const before = JSON.stringify({
      auths: { 'docker.io': {}, 'https://index.docker.io/v1/': {}, 'docker.io/ns': {} },
    })
    expect(Object.keys(JSON.parse(withEntry(before, FILE, HUB, credentials)).auths)).toEqual([
      'docker.io/ns',
      'https://index.docker.io/v1/',
    ])
  })

  it('keeps all else, numbers too that JavaScript cannot hold', () => {
    const before =
      '{"big": 12345678901234567890, "small": -1e-400, "one": 1.0, "text": "\\"9#\\u0023", "#7": "##5", "\\u00235": ["#5", 5], "__proto__": {"x": 1}, "auths": {"b.example": {"n": 1E+5}}}'
    const after = withEntry(before, FILE, 'a.example', credentials)
    for (const kept of ['"big": 12345678901234567890', '"small": -1e-400', '"one": 1.0', '"n": 1E+5']) {
      expect(after).toContain(kept)
    }
    const { 'a.example': made, ...auths } = JSON.parse(after).auths
    expect({ ...JSON.parse(after), auths }).toEqual(JSON.parse(before))
    expect(made).toEqual(auth('me:pä:ss'))
  })

  it('undoes an edit', () => {
    const before = '{\n\t"psFormat": "x",\n\t"auths": {\n\t\t"b.example": {}\n\t}\n}\n'
    expect(withoutEntry(withEntry(before, FILE, 'a.example', credentials), FILE, 'a.example')).toBe(before)
    expect(hasEntry(before, FILE, 'a.example')).toBe(false)
  })

  it('of a file that is malformed is refused', () => {
    expect(complaint(() => withEntry('{', FILE, 'a.example', credentials))).toEqual([
      'configuration-invalid',
      2,
      FILE,
      '',
    ])
  })

  it('keeps every document but for the entry', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue()), (document) => {
        const { auths: _auths, credHelpers: _helpers, credsStore: _store, ...rest } = document
        const after = withEntry(JSON.stringify(rest), FILE, 'a.example', credentials)
        const { auths, ...kept } = JSON.parse(after)
        expect(Object.keys(auths)).toEqual(['a.example'])
        expect(JSON.stringify(kept)).toBe(JSON.stringify(JSON.parse(JSON.stringify(rest))))
      }),
    )
  })
})
