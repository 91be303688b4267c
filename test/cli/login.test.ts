import { describe, expect, it } from 'vitest'
import type { Ask } from '../../cli/ask.js'
import { AuthError } from '../../lib/index.js'
import { type groot, result } from './fake-library.js'

type Wish = NonNullable<Parameters<typeof groot>[1]>

/** A person who answers in this order, and what was asked. */
function person(...answers: string[]): { ask: Ask; asked: unknown[] } {
  const asked: unknown[] = []
  return {
    asked,
    ask: async (question, { hidden }) => {
      asked.push([question, hidden])
      return answers.shift() ?? ''
    },
  }
}

describe('login', () => {
  it('takes a password from standard input, and needs no store', async () => {
    const line =
      'login --username me --password-stdin --insecure-registry a.example --authfile auth.json --certs-dir c --registries-conf r a.example'
    const env = { DOCKER_CONFIG: '/d', HOME: undefined }
    const { status, stdout, stderr, opened, calls } = await result(line, { input: 'secret\n', env })
    expect({ status, stdout, stderr, opened }).toEqual({ status: 0, stdout: '', stderr: '', opened: [] })
    expect(calls).toEqual([
      [
        'login',
        {
          host: 'a.example',
          credentials: { username: 'me', password: 'secret' },
          insecureRegistries: ['a.example'],
          registry: {
            environment: { DOCKER_CONFIG: '/d' },
            authFile: '/work/auth.json',
            certsDirectory: '/work/c',
            registriesConf: '/work/r',
          },
        },
      ],
    ])
  })

  it('asks a person for what is missing, and shows no password', async () => {
    const { ask, asked } = person(' me ', ' sec ret ')
    const { calls, reads } = await result('login a.example', { ask })
    expect(asked).toEqual([
      ['User name for "a.example": ', false],
      ['Password of "me" for "a.example": ', true],
    ])
    expect(calls).toMatchObject([['login', { credentials: { username: 'me', password: ' sec ret ' } }]])
    expect(reads).toBe(0)
  })

  it('asks for the password only when the name is said', async () => {
    const { ask, asked } = person('secret')
    await result('login --username me a.example', { ask })
    expect(asked).toEqual([['Password of "me" for "a.example": ', true]])
  })

  it('shows what it asks without what could steer the terminal', async () => {
    const { ask, asked } = person('me', 'secret')
    await result(['login', 'a\u001b[2Jb'], { ask })
    expect(asked[0]).toEqual(['User name for "a\\x1b[2Jb": ', false])
  })

  it.each<[string, Wish, string]>([
    ['login a.example', {}, 'Cannot ask for a password: there is no terminal'],
    ['login --username me a.example', {}, 'Cannot ask for a password: there is no terminal'],
    [
      'login --password-stdin a.example',
      { input: 'x' },
      'Cannot use --password-stdin: it needs --username too',
    ],
    [
      'login --username me --password-stdin a.example',
      {},
      'Cannot read the password: standard input is empty',
    ],
    ['login a.example', person('', 'x'), 'Cannot log in: the user name is empty'],
    ['login a.example', person('me', ''), 'Cannot log in: the password is empty'],
    ['login', {}, 'Cannot run login: it takes HOST, not 0 arguments'],
    ['login --password secret a.example', {}, 'Cannot use the option "--password"'],
  ])('by %j with %j is refused', async (line, wish, message) => {
    const { status, stdout, stderr, calls } = await result(line, wish)
    expect({ status, stdout, calls }).toEqual({ status: 2, stdout: '', calls: [] })
    expect(stderr).toContain(message)
  })

  it('says where the credentials are', async () => {
    const wish = { input: 'x', terminal: { isTerminal: true, columns: 80 } }
    expect((await result('login --username me --password-stdin a.example', wish)).stderr).toBe(
      'groot: Logged in at "a.example"; the credentials are kept in "/h/.docker/config.json"\n',
    )
    const { stdout, stderr } = await result('login --json --username me --password-stdin a.example', wish)
    expect([stdout, stderr]).toEqual([
      '{"host":"a.example","keptIn":{"kind":"file","path":"/h/.docker/config.json"}}\n',
      '',
    ])
  })

  it('ends with the status of the error', async () => {
    const library = {
      login: async () => {
        throw new AuthError('auth-denied', 'Cannot log in at "a.example": no')
      },
    }
    const { status, stdout, stderr } = await result('login --username me --password-stdin a.example', {
      input: 'x',
      library: library as never, // nothing else of it is used
    })
    expect({ status, stdout, stderr }).toEqual({
      status: 14,
      stdout: '',
      stderr: 'groot: Cannot log in at "a.example": no\n',
    })
  })
})

describe('logout', () => {
  const terminal = { isTerminal: true, columns: 80 }

  it('says nothing, but that there was no login', async () => {
    const known = await result('logout --authfile /a known.example', { terminal })
    expect(known).toMatchObject({ status: 0, stdout: '', stderr: '', opened: [] })
    expect(known.calls).toEqual([
      ['logout', { host: 'known.example', registry: { environment: {}, authFile: '/a' } }],
    ])
    const { status, stderr } = await result('logout a.example', { terminal })
    expect([status, stderr]).toEqual([0, 'groot: There was no login at "a.example" in the file\n'])
  })
})
