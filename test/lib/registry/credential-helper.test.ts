import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { GrootError } from '../../../lib/errors.js'
import { eraseFromHelper, getFromHelper, storeInHelper } from '../../../lib/registry/credential-helper.js'
import { type HelperPrograms, helperPrograms } from './helper-programs.js'

let scratch: string
let programs: HelperPrograms
const signal = new AbortController().signal

beforeEach(() => {
  scratch = mkdtempSync(`${tmpdir()}/groot-helper-`)
  programs = helperPrograms(`${scratch}/bin`)
})
afterEach(() => {
  programs[Symbol.dispose]()
  rmSync(scratch, { recursive: true, force: true })
})

async function failure(work: Promise<unknown>): Promise<GrootError> {
  return work.then(
    () => Promise.reject(new Error('it worked')),
    (error: GrootError) => error,
  )
}

const get = (name: string, timeoutMs = 5000) => getFromHelper(name, 'a.example', { signal, timeoutMs })
const printing = (document: unknown) => `cat > /dev/null; cat <<'END'\n${JSON.stringify(document)}\nEND`

describe('a helper', () => {
  it('is asked by standard input, with nothing but the action on its command line', async () => {
    programs.add(
      'plain',
      `echo "$#:$1:$(cat):$PWD" > ${scratch}/seen; ${printing({ Username: 'me', Secret: 'sec:ret' })}`,
    )
    expect(await get('plain')).toEqual({ username: 'me', password: 'sec:ret' })
    expect(readFileSync(`${scratch}/seen`, 'utf8')).toBe('1:get:a.example:/\n')
  })

  it('is given to a program, not to a shell', async () => {
    programs.add('plain', printing({ Username: 'me', Secret: 'x' }))
    await getFromHelper('plain', `$(touch ${scratch}/made); touch ${scratch}/made`, { signal })
    expect(existsSync(`${scratch}/made`)).toBe(false)
  })

  it.each([
    [{ Username: '<token>', Secret: 'refresh' }, { identityToken: 'refresh' }],
    [
      { ServerURL: 'a.example', Username: '', Secret: 'x', More: 1 },
      { username: '', password: 'x' },
    ],
    [{ Username: '', Secret: '' }, null],
  ])('that prints %j has %j', async (document, credentials) => {
    programs.add('plain', printing(document))
    expect(await get('plain')).toEqual(credentials)
  })

  it.each([
    ['on standard output', 'echo "credentials not found in native keychain"; exit 1'],
    ['on standard error', 'echo "error: credentials not found in native keychain" >&2; exit 1'],
  ])('that has none says so %s', async (_, script) => {
    programs.add('none', script)
    expect(await get('none')).toBeNull()
    await eraseFromHelper('none', 'a.example', { signal })
  })

  it('may end without reading', async () => {
    programs.add('hasty', `exec 0<&-; echo '{"Username":"me","Secret":"x"}'`)
    expect(await getFromHelper('hasty', 'x'.repeat(200_000), { signal })).toEqual({
      username: 'me',
      password: 'x',
    })
  })

  it('keeps and forgets', async () => {
    programs.addKeeper('keep')
    const credentials = { username: 'me', password: 'sec"ret' }
    await storeInHelper('keep', 'a.example', credentials, { signal })
    expect(await get('keep')).toEqual(credentials)
    await eraseFromHelper('keep', 'a.example', { signal })
    expect(await get('keep')).toBeNull()
    expect(programs.calls('keep')[0]).toBe(
      'store {"ServerURL":"a.example","Username":"me","Secret":"sec\\"ret"}',
    )
  })
})

describe('a failure of a helper', () => {
  it.each([
    ['echo hunter2; echo hunter2 >&2; exit 3', 'it ended with status 3'],
    ['kill -9 $$', 'it was killed'],
    ['echo hunter2', 'it did not print a user name and a secret'],
    [`echo '{"Username":"hunter2"}'`, 'it did not print a user name and a secret'],
    [`echo 'null'`, 'it did not print a user name and a secret'],
    ['head -c 300000 /dev/zero', 'it printed more than 262144 bytes'],
  ])('like %j is told without what it printed', async (script, problem) => {
    programs.add('bad', script)
    const error = await failure(get('bad'))
    expect([error.code, error.exitStatus, error.message, error.facts]).toEqual([
      'credential-helper-failed',
      14,
      `Cannot get credentials from "docker-credential-bad": ${problem}`,
      { helper: 'docker-credential-bad', action: 'get', problem },
    ])
    expect(JSON.stringify([error.stack, error.cause])).not.toContain('hunter2')
  })

  it('that is not there, or may not be run, is told', async () => {
    process.env.PATH = `${scratch}/bin`
    expect((await failure(get('nowhere'))).facts.problem).toBe('there is no such program in PATH')
    writeFileSync(`${scratch}/bin/docker-credential-data`, 'x', { mode: 0o644 })
    expect((await failure(get('data'))).facts.problem).toBe('it is not in PATH, or must not be run')
  })

  it('that hangs is ended with all that it started', async () => {
    programs.add('slow', `sleep 60 & echo $! > ${scratch}/pid; wait`)
    const error = await failure(get('slow', 300))
    expect(error.facts.problem).toBe('it did not end within 0.3 seconds')
    const pid = Number(readFileSync(`${scratch}/pid`, 'utf8'))
    await sleep(100)
    expect(isRunning(pid)).toBe(false)
  })

  it('is none when the signal fires', async () => {
    programs.add('slow', 'exec sleep 60')
    const controller = new AbortController()
    setTimeout(() => controller.abort(), 100)
    const error = await failure(getFromHelper('slow', 'a.example', { signal: controller.signal }))
    expect(error.code).toBe('aborted')
    expect((await failure(getFromHelper('slow', 'a.example', { signal: controller.signal }))).code).toBe(
      'aborted',
    )
  })
})

/** Whether a process is there and no zombie. */
function isRunning(pid: number): boolean {
  try {
    return !/^\d+ \(.*\) [ZX]/.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))
  } catch {
    return false
  }
}
