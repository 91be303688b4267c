import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { AuthPlace } from '../../../lib/config/places.js'
import { credentialFinder } from '../../../lib/registry/credentials.js'
import { type HelperPrograms, helperPrograms } from './helper-programs.js'

let scratch: string
let programs: HelperPrograms
const signal = new AbortController().signal

beforeEach(() => {
  scratch = mkdtempSync(`${tmpdir()}/groot-credentials-`)
  programs = helperPrograms(`${scratch}/bin`)
})
afterEach(() => {
  programs[Symbol.dispose]()
  rmSync(scratch, { recursive: true, force: true })
})

function place(name: string, document: unknown): AuthPlace {
  const path = `${scratch}/${name}`
  writeFileSync(path, JSON.stringify(document))
  return { path, isNamed: false, format: 'config' }
}

const auth = (user: string) => ({ auth: Buffer.from(`${user}:x`).toString('base64') })
const as = (username: string) => ({ username, password: 'x' })
const keeping = (user: string) => `cat > /dev/null; echo '{"Username":"${user}","Secret":"x"}'`

describe('credentials', () => {
  it('are those of the first file that has some, whatever later ones know better', async () => {
    const { find } = credentialFinder({
      places: [
        { path: `${scratch}/absent`, isNamed: false, format: 'config' },
        place('1', { auths: { 'a.example': auth('first') } }),
        place('2', { auths: { 'a.example/team/app': auth('second'), 'b.example': auth('other') } }),
      ],
    })
    expect(await find('a.example', 'team/app', signal)).toEqual(as('first'))
    expect(await find('b.example', 'team/app', signal)).toEqual(as('other'))
    expect(await find('c.example', 'team/app', signal)).toBeNull()
  })

  it('are nowhere without files', async () => {
    expect(await credentialFinder({ places: [] }).find('a.example', undefined, signal)).toBeNull()
  })

  it('of a helper that has none are looked for in the file', async () => {
    programs.addKeeper('empty')
    const { find } = credentialFinder({
      places: [place('1', { credsStore: 'empty', auths: { 'a.example': auth('file') } })],
    })
    expect(await find('a.example', 'x', signal)).toEqual(as('file'))
    expect(programs.calls('empty')).toEqual(['get a.example'])
    expect(await find('registry-1.docker.io', 'library/x', signal)).toBeNull()
    expect(programs.calls('empty').slice(1)).toEqual(['get https://index.docker.io/v1/', 'get docker.io'])
  })

  it('are looked for where registries.conf says', async () => {
    programs.add('vault', keeping('vault'))
    const places = [place('1', { auths: { 'a.example': auth('file') } })]
    const found = (names: readonly string[]) =>
      credentialFinder({ places, helpers: async () => names }).find('a.example', 'x', signal)
    expect(await found(['containers-auth.json', 'vault'])).toEqual(as('file'))
    expect(await found(['vault', 'containers-auth.json'])).toEqual(as('vault'))
    expect(await found([])).toBeNull()
  })

  it('are not asked for elsewhere when a helper fails', async () => {
    programs.add('broken', 'exit 1')
    const { find } = credentialFinder({
      places: [place('1', { credsStore: 'broken', auths: { 'a.example': auth('file') } })],
    })
    await expect(find('a.example', 'x', signal)).rejects.toMatchObject({ code: 'credential-helper-failed' })
  })

  it('in a named file that is missing are an error, and so is a file that cannot be understood', async () => {
    const missing = credentialFinder({ places: [{ path: `${scratch}/no`, isNamed: true, format: 'config' }] })
    await expect(missing.find('a.example', 'x', signal)).rejects.toMatchObject({
      code: 'configuration-invalid',
      facts: { file: `${scratch}/no`, problem: 'is not there' },
    })
    const broken = credentialFinder({ places: [place('1', [])] })
    await expect(broken.find('a.example', 'x', signal)).rejects.toMatchObject({
      code: 'configuration-invalid',
    })
  })

  it('are read once', async () => {
    const file = place('1', { auths: { 'a.example': auth('before') } })
    const { find } = credentialFinder({ places: [file] })
    await find('a.example', 'x', signal)
    place('1', { auths: { 'a.example': auth('after') } })
    expect(await find('a.example', 'y', signal)).toEqual(as('before'))
  })
})
