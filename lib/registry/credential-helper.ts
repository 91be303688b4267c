/**
 * Credential helpers: programs `docker-credential-NAME` that keep secrets, asked as Docker asks them.
 *
 * A helper is run without a shell and gets what it needs by standard input. What it prints is a secret, and what it says
 * on standard error may be one: neither reaches a message. It has 30 seconds, of which a person may need some.
 */
import { spawn } from 'node:child_process'
import { AbortedError, AuthError, throwIfAborted } from '../errors.js'
import { quote } from '../image/json.js'
import type { Credentials, PasswordCredentials } from './hosts.js'

export interface HelperOptions {
  readonly signal: AbortSignal
  /** Default 30 s. */
  readonly timeoutMs?: number
}

const TIMEOUT_MS = 30_000
const MAX_OUTPUT = 256 * 1024 // tokens have some KB
const MAX_COMPLAINT = 4096

/** What a helper calls a refresh token in the place of a user name. */
const TOKEN_USER = '<token>'

/**
 * Asks a helper for the credentials for an address.
 *
 * @param name the part after `docker-credential-`, checked by checkHelper
 * @returns null when it has none
 * @throws {AuthError} `credential-helper-failed`
 * @throws {AbortedError}
 */
export async function getFromHelper(
  name: string,
  address: string,
  options: HelperOptions,
): Promise<Credentials | null> {
  const answer = await runHelper(name, 'get', address, options)
  if (answer === null) return null
  const { username, secret } = parseAnswer(name, answer)
  if (secret === '') return null
  return username === TOKEN_USER ? { identityToken: secret } : { username, password: secret }
}

/** Gives a helper credentials to keep; throws as getFromHelper does. */
export async function storeInHelper(
  name: string,
  address: string,
  { username, password }: PasswordCredentials,
  options: HelperOptions,
): Promise<void> {
  const document = JSON.stringify({ ServerURL: address, Username: username, Secret: password })
  if ((await runHelper(name, 'store', document, options)) === null)
    throw failed(name, 'store', 'it has no place for them')
}

/** Has a helper forget; "not there" is success. Throws as getFromHelper does. */
export async function eraseFromHelper(name: string, address: string, options: HelperOptions): Promise<void> {
  await runHelper(name, 'erase', address, options)
}

type Action = 'get' | 'store' | 'erase'

interface Ended {
  readonly status: number | null
  readonly stdout: string
  readonly complaint: string
}

/** @returns what it printed; null when it said that there are no such credentials */
async function runHelper(
  name: string,
  action: Action,
  input: string,
  { signal, timeoutMs = TIMEOUT_MS }: HelperOptions,
): Promise<string | null> {
  throwIfAborted(signal)
  const { status, stdout, complaint } = await runProgram(name, action, input, signal, timeoutMs)
  if (status === 0) return stdout
  // The protocol has no other sign of it than this sentence.
  if (/credentials not found/i.test(`${stdout.slice(0, MAX_COMPLAINT)}\n${complaint}`)) return null
  throw failed(name, action, status === null ? 'it was killed' : `it ended with status ${status}`)
}

function runProgram(
  name: string,
  action: Action,
  input: string,
  signal: AbortSignal,
  timeoutMs: number,
): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const child = spawn(`docker-credential-${name}`, [action], {
      cwd: '/',
      // A group of its own, so that what it starts ends with it.
      detached: true,
      stdio: ['pipe', 'pipe', 'pipe'],
    })
    const [stdout, complaint]: [Buffer[], Buffer[]] = [[], []]
    const end = (error: Error | null, status: number | null = null) => {
      clearTimeout(timer)
      signal.removeEventListener('abort', abort)
      if (error === null) return resolve({ status, stdout: text(stdout), complaint: text(complaint) })
      killGroup(child.pid)
      for (const stream of [child.stdin, child.stdout, child.stderr]) stream.destroy()
      child.unref()
      reject(error)
    }
    const abort = () => end(new AbortedError(undefined, { cause: signal.reason }))
    const timer = setTimeout(
      () => end(failed(name, action, `it did not end within ${timeoutMs / 1000} seconds`)),
      timeoutMs,
    )
    signal.addEventListener('abort', abort, { once: true })
    child.on('error', (error) => end(failed(name, action, startProblem(error))))
    child.on('close', (status) => end(null, status))
    child.stdin.on('error', () => {}) // one that ends without reading says what is wrong by its status
    let size = 0
    child.stdout.on('data', (bytes: Buffer) => {
      size += bytes.length
      if (size > MAX_OUTPUT) end(failed(name, action, `it printed more than ${MAX_OUTPUT} bytes`))
      else stdout.push(bytes)
    })
    let complained = 0
    child.stderr.on('data', (bytes: Buffer) => {
      if (complained < MAX_COMPLAINT) complaint.push(bytes.subarray(0, MAX_COMPLAINT - complained))
      complained += bytes.length
    })
    child.stdin.end(input)
  })
}

function text(chunks: readonly Buffer[]): string {
  return Buffer.concat(chunks).toString('utf8')
}

function killGroup(pid: number | undefined): void {
  if (pid === undefined) return
  try {
    process.kill(-pid, 'SIGKILL')
  } catch {
    // It has ended meanwhile.
  }
}

function startProblem(error: Error): string {
  const code = (error as { code?: unknown }).code
  if (code === 'ENOENT') return 'there is no such program in PATH'
  // Said of directories in PATH, too, that this user may not search.
  if (code === 'EACCES') return 'it is not in PATH, or must not be run'
  return `it cannot be started (${typeof code === 'string' ? code : 'unknown'})`
}

function parseAnswer(name: string, answer: string): { readonly username: string; readonly secret: string } {
  const { Username: username, Secret: secret } = jsonObject(answer)
  if (typeof username === 'string' && typeof secret === 'string') return { username, secret }
  throw failed(name, 'get', 'it did not print a user name and a secret')
}

function jsonObject(text: string): { readonly Username?: unknown; readonly Secret?: unknown } {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? value : {}
  } catch {
    return {} // the caller says what is wrong with it
  }
}

const DOING: Readonly<Record<Action, string>> = {
  get: 'get credentials from',
  store: 'store credentials with',
  erase: 'erase credentials from',
}

function failed(name: string, action: Action, problem: string): AuthError {
  const program = `docker-credential-${name}`
  return new AuthError('credential-helper-failed', `Cannot ${DOING[action]} ${quote(program)}: ${problem}`, {
    facts: { helper: program, action, problem },
  })
}
