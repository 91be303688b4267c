/**
 * Logging in with the built command: at a terminal, which is a pseudo terminal that script(1) makes, and by many at once.
 */
import { spawn } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { findTool, MAIN, missing, titled } from '../images/tools.js'
import { type FakeRegistry, respond, startRegistry } from '../lib/registry/fake-registry.js'

const why = missing({ tools: ['script'] })
const BASIC = `Basic ${Buffer.from('me:sec ret').toString('base64')}`

let scratch: string
let registry: FakeRegistry
beforeEach(async () => {
  scratch = mkdtempSync(`${tmpdir()}/groot-terminal-`)
  registry = await startRegistry()
  registry.fault = (request, response) =>
    request.headers.authorization !== BASIC &&
    respond(response, 401, '', { 'www-authenticate': 'Basic realm="x"' })
})
afterEach(async () => {
  await registry[Symbol.asyncDispose]()
  rmSync(scratch, { recursive: true, force: true })
})

/** Runs login on a terminal, and types an answer whenever a text has appeared. */
async function type(answers: readonly (readonly [seen: string, typed: string])[]) {
  const line = `${process.execPath} ${MAIN} login ${registry.host}`
  const child = spawn(findTool('script') ?? 'script', ['-qefc', line, '/dev/null'], {
    env: { PATH: process.env.PATH, HOME: scratch, TERM: 'dumb' },
    stdio: ['pipe', 'pipe', 'inherit'],
    timeout: 30_000,
  })
  const left = [...answers]
  let shown = ''
  child.stdout.on('data', (bytes: Buffer) => {
    shown += bytes.toString()
    if (left[0] !== undefined && shown.includes(left[0][0])) child.stdin.write(left.shift()![1])
  })
  const status = await new Promise((resolve) => child.once('close', resolve))
  return { status, shown }
}

describe.skipIf(why !== null)(titled('login at a terminal', why), () => {
  it('asks for a name, which it shows, and for a password, which it does not', async () => {
    const { status, shown } = await type([
      ['User name for', 'me\r'],
      ['Password of "me"', 'sec rex\x7ft\r'],
    ])
    expect([status, shown]).toEqual([0, expect.stringContaining(`Logged in at "${registry.host}"`)])
    expect(shown).toMatch(/User name for .*me/)
    expect(shown).not.toMatch(/sec|ret/)
    const { auths } = JSON.parse(readFileSync(`${scratch}/.docker/config.json`, 'utf8'))
    expect(auths[registry.host]).toEqual({ auth: BASIC.slice('Basic '.length) })
  })

  it.each([
    ['Ctrl-C', '\x03', 130, 'stopped by SIGINT'],
    ['Ctrl-D', '\x04', 2, 'the input has ended'],
  ])('is left by %s', async (_, key, expected, message) => {
    const { status, shown } = await type([['User name for', key]])
    expect([status, shown]).toEqual([expected, expect.stringContaining(message)])
  })
})

const whyNoCommand = missing({})

describe.skipIf(whyNoCommand !== null)(titled('eight logins at once', whyNoCommand), () => {
  it('by processes of their own keep all entries in one file of mode 0600', async () => {
    const registries = await Promise.all(Array.from({ length: 8 }, () => startRegistry()))
    try {
      const statuses = await Promise.all(
        registries.map(async ({ host }) => {
          const argv = [MAIN, 'login', '--username', 'me', '--password-stdin', host]
          const child = spawn(process.execPath, argv, {
            env: { PATH: process.env.PATH, HOME: scratch },
            stdio: ['pipe', 'ignore', 'ignore'],
          })
          child.stdin.end('sec ret')
          return await new Promise((resolve) => child.once('close', resolve))
        }),
      )
      expect(statuses).toEqual(registries.map(() => 0))
      const file = `${scratch}/.docker/config.json`
      const { auths } = JSON.parse(readFileSync(file, 'utf8'))
      expect(Object.keys(auths).sort()).toEqual(registries.map(({ host }) => host).sort())
      expect([statSync(file).mode & 0o777, readdirSync(`${scratch}/.docker`)]).toEqual([
        0o600,
        ['config.json'],
      ])
    } finally {
      for (const each of registries) await each[Symbol.asyncDispose]()
    }
  })
})
