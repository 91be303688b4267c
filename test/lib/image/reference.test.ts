import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { GrootError } from '../../../lib/errors.js'
import { isProblem, normalizeRegistry } from '../../../lib/image/host.js'
import { parseReference, printReference, registryReading } from '../../../lib/image/reference.js'

const sha = `sha256:${'ab'.repeat(32)}`
const sha512 = `sha512:${'cd'.repeat(64)}`
const hub = 'registry-1.docker.io'

function failure(text: string): GrootError {
  try {
    parseReference(text)
  } catch (error) {
    return error as GrootError
  }
  throw new Error('it was accepted')
}

describe('references to registries', () => {
  it.each([
    ['docker://127.0.0.1:5055/python', '127.0.0.1:5055', 'python', 'latest', undefined],
    ['docker://127.0.0.1:5055/python:3.12', '127.0.0.1:5055', 'python', '3.12', undefined],
    ['docker://localhost/a/b/c:x', 'localhost', 'a/b/c', 'x', undefined],
    ['docker://LocalHost:80/a', 'localhost:80', 'a', 'latest', undefined],
    [`docker://ghcr.io/org/app@${sha}`, 'ghcr.io', 'org/app', undefined, sha],
    [`docker://ghcr.io/org/app:v1@${sha512}`, 'ghcr.io', 'org/app', 'v1', sha512],
    ['docker://GHCR.io/org/app', 'ghcr.io', 'org/app', 'latest', undefined],
    ['docker://[::1]:5000/a', '[::1]:5000', 'a', 'latest', undefined],
    ['docker://[2001:DB8:0:0::1]/a', '[2001:db8::1]', 'a', 'latest', undefined],
    ['docker://registry:5000/a', 'registry:5000', 'a', 'latest', undefined],
    ['docker://Registry:5000/a', 'registry:5000', 'a', 'latest', undefined],
    ['docker://h.example/a__b/c.d-e--f_g', 'h.example', 'a__b/c.d-e--f_g', 'latest', undefined],
    ['docker:///python', hub, 'library/python', 'latest', undefined],
    [`docker:///python:3@${sha}`, hub, 'library/python', '3', sha],
    ['docker:///bitnami/redis', hub, 'bitnami/redis', 'latest', undefined],
    ['docker://docker.io/python', hub, 'library/python', 'latest', undefined],
    ['docker://index.docker.io/library/python', hub, 'library/python', 'latest', undefined],
    ['docker://registry-1.docker.io/python', hub, 'library/python', 'latest', undefined],
  ])('%s is %s, %s, %s, %s', (text, registry, repository, tag, digest) => {
    const expected = {
      kind: 'registry',
      registry,
      repository,
      ...(tag === undefined ? {} : { tag }),
      ...(digest === undefined ? {} : { digest }),
    }
    const [reference, ...others] = parseReference(text)
    expect(reference).toEqual(expected)
    expect(others).toEqual([])
    expect(parseReference(printReference(reference))).toEqual([reference])
  })

  it('print in full', () => {
    expect(printReference(parseReference('docker:///alpine')[0])).toBe(
      'docker://registry-1.docker.io/library/alpine:latest',
    )
    expect(printReference(parseReference(`docker://h.example:5/a:b@${sha}`)[0])).toBe(
      `docker://h.example:5/a:b@${sha}`,
    )
  })

  it.each([
    ['docker://h.example/', 'name'],
    ['docker://h.example//a', 'name'],
    ['docker://h.example/a/', 'name'],
    ['docker://h.example/../b', 'name'],
    ['docker://h.example/A', 'name'],
    ['docker://h.example/-a', 'name'],
    ['docker://h.example/a___b', 'name'],
    ['docker://h.example/a..b', 'name'],
    ['docker://h.example/a?b=c', 'name'],
    ['docker://h.example/a%2fb', 'name'],
    ['docker://h.example/é', 'name'],
    [`docker://h.example/${'a'.repeat(256)}`, 'name'],
    ['docker://h.example', 'name'],
    ['docker://h.example:5000', 'name'],
    ['docker://localhost:5000', 'name'],
    ['docker:///', 'name'],
    ['docker:////a', 'name'],
    [`docker:///${'a'.repeat(248)}`, 'name'],
    ['docker://h.example/a:', 'tag'],
    ['docker://h.example/a:-x', 'tag'],
    ['docker://h.example/a:x/y', 'name'],
    ['docker://h.example/a:b:c', 'tag'],
    [`docker://h.example/a:${'x'.repeat(129)}`, 'tag'],
    ['docker://h.example/a@', 'digest'],
    ['docker://h.example/a@sha256:12', 'digest'],
    [`docker://h.example/a@${sha.toUpperCase()}`, 'digest'],
    [`docker://h.example/a@${sha}@${sha}`, 'digest'],
    [`docker://h.example/a@${sha}:tag`, 'digest'],
    ['docker://h.example:0/a', 'port'],
    ['docker://h.example:65536/a', 'port'],
    ['docker://h.example:080/a', 'port'],
    ['docker://h.example:/a', 'port'],
    ['docker://h.example:5x/a', 'port'],
    ['docker://1.2.3/a', 'host'],
    ['docker://1.2.3.256/a', 'host'],
    ['docker://01.2.3.4/a', 'host'],
    ['docker://0x7f.1/a', 'host'],
    ['docker://2130706433:80/a', 'host'],
    ['docker://[::1/a', 'host'],
    ['docker://[::1]x/a', 'host'],
    ['docker://[::g]/a', 'host'],
    ['docker://[fe80::1%25eth0]/a', 'host'],
    ['docker://::1/a', 'host'],
    ['docker://-h.example/a', 'host'],
    ['docker://h..example/a', 'host'],
    ['docker://h_x.example/a', 'host'],
    [`docker://${'a'.repeat(64)}.example/a`, 'host'],
    [`docker://${'abcdefg.'.repeat(32)}example/a`, 'host'],
    ['docker:python', 'image'],
    ['docker:/python', 'image'],
    ['', 'image'],
    ['a\nb', 'image'],
    ['a\u0000', 'image'],
    ['x'.repeat(9000), 'image'],
    ['https://h.example/a', 'image'],
    ['docker-daemon:python', 'image'],
    ['containers-storage:python', 'image'],
    ['oci:', 'path'],
    ['docker-archive:', 'path'],
    [`oci-archive:${'a:'.repeat(70)}b`, 'path'],
  ])('%j is refused for its %s', (text, part) => {
    expect(failure(text)).toMatchObject({ kind: 'usage', code: 'reference-invalid', facts: { part } })
  })

  it.each([
    ['docker://python', ['docker://python/NAME', 'docker:///python']],
    ['docker://python:3', ['docker://python:3/NAME', 'docker:///python:3']],
    [`docker://python@${sha}`, ['docker://python/NAME', `docker:///python@${sha}`]],
    ['docker://library/python', ['docker://library:443/python', 'docker:///library/python']],
    [
      'docker:///ghcr.io/org/app',
      ['docker://ghcr.io/org/app', 'docker://registry-1.docker.io/ghcr.io/org/app'],
    ],
    [
      'docker:///localhost:5000/app',
      ['docker://localhost:5000/app', 'docker://registry-1.docker.io/localhost:5000/app'],
    ],
    ['oci://ghcr.io/org/app', ['docker://ghcr.io/org/app', 'oci:ghcr.io/org/app']],
  ])('%s is refused, because it could mean either of %j', (text, readings) => {
    const error = failure(text)
    expect(error).toMatchObject({
      kind: 'usage',
      code: 'reference-ambiguous',
      facts: { image: text, readings },
    })
    for (const reading of readings) expect(error.message).toContain(`"${reading.slice(0, 100)}`)
  })

  it.each([
    'docker://user:hunter2@h.example/a',
    'docker://user:hunter2@h.example',
    'docker://hunter2@h.example/a',
    'https://user:hunter2@h.example/a',
    'oci://user:hunter2@h.example/a',
  ])('never show a password that stands in them', (text) => {
    const error = failure(text)
    expect(`${error.message} ${JSON.stringify(error.facts)}`).not.toContain('hunter2')
  })
})

describe('references to what is on disk', () => {
  const path = (text: string) => ({ kind: 'path', path: text })

  it.each([
    ['oci:dir', [{ kind: 'oci', path: 'dir' }]],
    ['oci:/a/b', [{ kind: 'oci', path: '/a/b' }]],
    ['oci:///a/b', [{ kind: 'oci', path: '/a/b' }]],
    [
      'oci:///a/b:v1',
      [
        { kind: 'oci', path: '/a/b', tag: 'v1' },
        { kind: 'oci', path: '/a/b:v1' },
      ],
    ],
    [
      'oci:a:b',
      [
        { kind: 'oci', path: 'a', tag: 'b' },
        { kind: 'oci', path: 'a:b' },
      ],
    ],
    ['oci:a:b/', [{ kind: 'oci', path: 'a:b/' }]],
    [
      'oci:a/:b',
      [
        { kind: 'oci', path: 'a/', tag: 'b' },
        { kind: 'oci', path: 'a/:b' },
      ],
    ],
    [
      'oci:a:h.example/x:1',
      [
        { kind: 'oci', path: 'a:h.example/x', tag: '1' },
        { kind: 'oci', path: 'a', tag: 'h.example/x:1' },
        { kind: 'oci', path: 'a:h.example/x:1' },
      ],
    ],
    ['oci:a:', [{ kind: 'oci', path: 'a:' }]],
    ['oci::a', [{ kind: 'oci', path: ':a' }]],
    [
      `oci:a@${sha}`,
      [
        { kind: 'oci', path: 'a', digest: sha },
        { kind: 'oci', path: 'a@sha256', tag: sha.slice(7) },
        { kind: 'oci', path: `a@${sha}` },
      ],
    ],
    ['oci-archive:x.tar', [{ kind: 'oci-archive', path: 'x.tar' }]],
    [
      'oci-archive:x.tar:t',
      [
        { kind: 'oci-archive', path: 'x.tar', tag: 't' },
        { kind: 'oci-archive', path: 'x.tar:t' },
      ],
    ],
    ['docker-archive:x.tar', [{ kind: 'docker-archive', path: 'x.tar' }]],
    [
      'docker-archive:x.tar:127.0.0.1:5055/python:3',
      [
        { kind: 'docker-archive', path: 'x.tar', reference: '127.0.0.1:5055/python:3' },
        { kind: 'docker-archive', path: 'x.tar:127.0.0.1', reference: '5055/python:3' },
        { kind: 'docker-archive', path: 'x.tar:127.0.0.1:5055/python', reference: '3' },
        { kind: 'docker-archive', path: 'x.tar:127.0.0.1:5055/python:3' },
      ],
    ],
  ])('%s has the readings %j', (text, readings) => {
    expect(parseReference(text)).toEqual([...readings, path(text)])
  })

  it.each(['python', './a', '/x/y.tar.gz', 'localhost:5000/app', 'a b', 'Ünï', '.', 'dir/', 'a:b@c'])(
    '%j is a path',
    (text) => {
      expect(parseReference(text)).toEqual([path(text)])
    },
  )

  it.each([
    ['python', 'docker:///python'],
    ['python:3', 'docker:///python:3'],
    ['user/app', 'docker:///user/app'],
    ['localhost:5000/app', 'docker://localhost:5000/app'],
    ['ghcr.io/org/app:1', 'docker://ghcr.io/org/app:1'],
    ['./python', null],
    ['/python', null],
    ['../x', null],
    ['image.tar', null],
    ['image.tar.zst', null],
    ['Python', null],
    ['a b', null],
    ['.', null],
  ])('%j could also mean %j', (text, reading) => {
    expect(registryReading(text)).toBe(reading)
    if (reading !== null) expect(parseReference(reading)[0].kind).toBe('registry')
  })
})

describe('every reference', () => {
  const label = fc.stringMatching(/^[a-z][a-z0-9-]{0,8}[a-z0-9]$/)
  const host = fc.oneof(
    fc.tuple(label, label).map((labels) => labels.join('.')),
    fc.ipV4(),
    fc.ipV6().map((address) => `[${address}]`),
  )
  const port = fc.option(fc.integer({ min: 1, max: 65535 }))
  const name = fc.array(fc.stringMatching(/^[a-z0-9]{1,4}([._-][a-z0-9]{1,4})?$/), {
    minLength: 1,
    maxLength: 4,
  })
  const tag = fc.option(fc.stringMatching(/^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,20}$/))
  const digest = fc.option(fc.stringMatching(/^[0-9a-f]{64}$/))
  const remote = fc
    .tuple(host, port, name, tag, digest)
    .map(
      ([h, p, n, t, d]) =>
        `docker://${h}${p === null ? '' : `:${p}`}/${n.join('/')}${t === null ? '' : `:${t}`}${d === null ? '' : `@sha256:${d}`}`,
    )
  const local = fc
    .tuple(
      fc.constantFrom('oci:', 'oci-archive:', 'docker-archive:', ''),
      fc.string({ minLength: 1, maxLength: 40 }),
    )
    .map(([kind, path]) => `${kind}${path}`)

  it('that is accepted prints as a text that means the same', () => {
    fc.assert(
      fc.property(remote, (text) => {
        const [reference] = parseReference(text)
        expect(reference.kind).toBe('registry')
        expect(parseReference(printReference(reference))).toEqual([reference])
      }),
    )
  })

  it('to something on disk prints as a text with the same first reading, or is refused as usage', () => {
    fc.assert(
      fc.property(fc.oneof(local, fc.string(), fc.string({ unit: 'binary' })), (text) => {
        let first: ReturnType<typeof parseReference>[0]
        try {
          first = parseReference(text)[0]
        } catch (error) {
          expect(error).toMatchObject({ kind: 'usage' })
          return
        }
        expect(parseReference(printReference(first))[0]).toEqual(first)
      }),
      { numRuns: 500 },
    )
  })

  it('names a host that URL parsers read as the same host', () => {
    fc.assert(
      fc.property(fc.oneof(host, fc.domain(), fc.stringMatching(/^[0-9a-fA-Fx.:[\]-]{1,20}$/)), (text) => {
        const normal = normalizeRegistry(text)
        if (isProblem(normal)) return
        const url = new URL(`http://${normal}/`)
        expect(url.host).toBe(normal.replace(/:80$/, ''))
        expect(normalizeRegistry(normal)).toBe(normal)
      }),
      { numRuns: 500 },
    )
  })
})
