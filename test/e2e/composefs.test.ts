/**
 * `groot composefs mk` in the place of mkcomposefs: spawned by another program, in the forms in which programs do that.
 */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gunzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { filesLoadedBy } from '../support/loaded-files.js'

const MAIN = fileURLToPath(new URL('../../dist/cli/main.cjs', import.meta.url))
const GOLDEN = new URL('../golden/composefs/', import.meta.url)
const { vectors } = JSON.parse(readFileSync(new URL('index.json', GOLDEN), 'utf8')) as {
  vectors: { name: string; file: string; expect?: { min0max1: { fsverity: string; size: number } } }[]
}
const debian = vectors.find(({ name }) => name === 'debian-minbase')!
const DUMP = gunzipSync(readFileSync(new URL(debian.file, GOLDEN)))
const { fsverity: DIGEST, size: SIZE } = debian.expect!.min0max1

let scratch = ''
beforeAll(() => {
  if (!existsSync(MAIN))
    throw new Error('Cannot test the command: it is not built; run "npm run build" first')
  scratch = mkdtempSync(join(tmpdir(), 'groot-e2e-'))
  writeFileSync(join(scratch, 'dump'), DUMP)
  // What a program finds on its PATH.
  writeFileSync(
    join(scratch, 'mkcomposefs'),
    `#!/bin/sh\nexec "${process.execPath}" "${MAIN}" composefs mk "$@"\n`,
    {
      mode: 0o755,
    },
  )
})
afterAll(() => rmSync(scratch, { recursive: true, force: true }))

const at = (...names: string[]) => join(scratch, ...names)

/** Without HOME, as a service has it. */
function mkcomposefs(args: readonly string[], options: Parameters<typeof spawnSync>[2] = {}) {
  const env = { PATH: `${scratch}:${process.env.PATH}` }
  const { status, stdout, stderr } = spawnSync('mkcomposefs', args, {
    env,
    cwd: scratch,
    maxBuffer: 2 ** 28,
    ...options,
  })
  return { status, stdout: stdout as Buffer | null, stderr: String(stderr) }
}

describe('a program that spawns mkcomposefs', () => {
  it('gets the image of a dump through pipes', () => {
    const { status, stdout, stderr } = mkcomposefs(['--from-file', '-', '-'], { input: DUMP })
    expect({ status, stderr, size: stdout?.length }).toEqual({ status: 0, stderr: '', size: SIZE })
    writeFileSync(at('piped'), stdout!)
    expect(spawnSync(process.execPath, [MAIN, 'composefs', 'measure', at('piped')]).stdout.toString()).toBe(
      `${DIGEST}\n`,
    )
  })

  it('gets it in files that it opened, by standard output and by /proc/self/fd', () => {
    for (const image of ['-', '/proc/self/fd/3']) {
      const dump = openSync(at('dump'), 'r')
      const file = openSync(at('opened'), 'w+')
      unlinkSync(at('opened'))
      try {
        const stdio = image === '-' ? [dump, file, 'pipe'] : [dump, 'ignore', 'pipe', file]
        const { status, stderr } = mkcomposefs(['--from-file', '-', image], { stdio: stdio as never })
        expect({ image, status, stderr }).toEqual({ image, status: 0, stderr: '' })
        writeFileSync(at('copied'), readFileSync(`/proc/self/fd/${file}`))
      } finally {
        closeSync(dump)
        closeSync(file)
      }
      expect(readFileSync(at('copied')).equals(readFileSync(at('piped')))).toBe(true)
    }
  })

  it('gets digests as text', () => {
    const only = mkcomposefs(['--from-file', '--print-digest-only', 'dump'])
    expect({ ...only, stdout: String(only.stdout) }).toEqual({ status: 0, stdout: `${DIGEST}\n`, stderr: '' })
    const both = mkcomposefs(['--print-digest', '--from-file', 'dump', 'written'])
    expect({ ...both, stdout: String(both.stdout) }).toEqual({ status: 0, stdout: `${DIGEST}\n`, stderr: '' })
    expect(statSync(at('written')).size).toBe(SIZE)
  })

  it('gets image and objects of a directory', () => {
    mkdirSync(at('source'))
    for (let i = 0; i < 2000; i++) writeFileSync(at('source', String(i)), `${i} `.repeat(i % 200))
    const made = mkcomposefs([
      '--print-digest',
      '--digest-store=objects',
      '--threads=2',
      'source',
      'source.cfs',
    ])
    expect({ ...made, stdout: String(made.stdout) }).toEqual({
      status: 0,
      stdout: expect.stringMatching(/^[0-9a-f]{64}\n$/),
      stderr: '',
    })
    const missing = spawnSync(
      process.execPath,
      [MAIN, 'composefs', 'missing-objects', '--basedir', at('objects'), at('source.cfs')],
      { encoding: 'utf8' },
    )
    expect(missing).toMatchObject({ status: 0, stdout: '' })
    expect(readdirSync(at('objects')).every((name) => /^[0-9a-f]{2}$/.test(name))).toBe(true)
  })

  it.each([
    [[], 'SOURCE'],
    [['nosuch', 'image'], 'nosuch'],
    [['--from-file', 'nosuch', 'image'], 'nosuch'],
    [['--from-file', 'source', 'image'], 'source'],
    [['--nonsense', 'source', 'image'], '--nonsense'],
    [['--from-file', '--print-digest-only', 'mkcomposefs'], 'line 1'],
  ])('gets a status that is not 0, a reason, and no answer: %j', (args, reason) => {
    const { status, stdout, stderr } = mkcomposefs(args)
    expect(status).toBeGreaterThan(0)
    expect(String(stdout)).toBe('')
    expect(stderr).toContain(reason)
    expect(existsSync(at('image'))).toBe(false)
  })

  it('gets a status that is not 0 when it does not take the whole image', async () => {
    const child = spawn('sh', ['-c', 'mkcomposefs --from-file dump -; echo "status $?" >&2'], {
      env: { PATH: `${scratch}:${process.env.PATH}` },
      cwd: scratch,
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    let stderr = ''
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text
    })
    child.stdout.once('data', () => child.stdout.destroy())
    await once(child, 'close')
    expect(stderr).toMatch(/EPIPE[\s\S]*status 20\n$/)
  })

  it('and is stopped, leaves nothing behind', async () => {
    mkdirSync(at('empty'))
    const child = spawn('mkcomposefs', ['--from-file', '-', 'empty/image'], {
      env: { PATH: `${scratch}:${process.env.PATH}` },
      cwd: scratch,
      stdio: ['pipe', 'ignore', 'ignore'],
    })
    child.stdin.write(DUMP.subarray(0, 100_000))
    setTimeout(() => child.kill('SIGTERM'), 500)
    expect(await once(child, 'close')).toEqual([143, null])
    expect(readdirSync(at('empty'))).toEqual([])
  })
})

describe('the composefs tools', () => {
  it('are not loaded for other verbs', () => {
    const tools = /\/bundle\/chunks\/(composefs|digest-store|read-image|scan)/
    expect(filesLoadedBy('--version').filter((file) => tools.test(file))).toEqual([])
    expect(filesLoadedBy('composefs', 'ls', at('written')).some((file) => tools.test(file))).toBe(true)
  })
})
