import { mkdirSync, writeFileSync } from 'node:fs'
import { Worker } from 'node:worker_threads'
import { describe, expect, it } from 'vitest'
import { byteString } from '../../../lib/bytes.js'
import { EMPTY_PATH } from '../../../lib/linux/c-string.js'
import { calls, loadCalls } from '../../../lib/linux/calls.js'
import { AT_EMPTY_PATH, O_RDONLY, STATX } from '../../../lib/linux/constants.js'
import { errnoError, errnoName, withPath } from '../../../lib/linux/errno.js'
import { close, openAt } from '../../../lib/linux/files.js'
import { thrownBy, useScratch } from './scratch.js'

const scratch = useScratch()

describe('the table of calls', () => {
  it.each([
    ['darwin', 'arm64'],
    ['linux', 'ia32'],
    ['win32', 'x64'],
  ])('refuses %s on %s and says what would do', (platform, arch) => {
    expect(thrownBy(() => loadCalls(platform, arch))).toMatchObject({
      kind: 'unsupported',
      code: 'system-unsupported',
      facts: { found: `${platform}/${arch}` },
      message: `Cannot make system calls on ${platform}/${arch}: groot needs Linux on x64 or arm64`,
    })
  })

  it('does the same by number as by name, for C libraries that lack the function', () => {
    const byNumber = loadCalls(process.platform, process.arch, true)
    mkdirSync(`${scratch.path}/d/sub`, { recursive: true })
    writeFileSync(`${scratch.path}/d/file`, 'content')
    const fd = openAt(-100, byteString(`${scratch.path}/d/file`), O_RDONLY)
    const directory = openAt(-100, byteString(`${scratch.path}/d`), O_RDONLY)
    const answers = [calls(), byNumber].map((libc) => {
      const stat = Buffer.alloc(STATX.size)
      const names = Buffer.alloc(1024)
      libc.lseek(directory, 0, 0)
      return {
        statx: [libc.statx(fd, EMPTY_PATH, AT_EMPTY_PATH, 0x17ff, stat), stat.toString('hex')],
        getdents64: [libc.getdents64(directory, names, names.length), names.toString('hex')],
        failure: [libc.renameat2(-1, EMPTY_PATH, -1, EMPTY_PATH, 0), errnoName(libc.errno())],
      }
    })
    close(fd)
    close(directory)
    expect(answers[1]).toEqual(answers[0])
    expect(answers[0]?.statx[0]).toBe(0)
    expect(answers[0]?.failure).toEqual([-1, 'ENOENT'])
  })

  it('tells of calls on other threads what errno was, whatever else is called meanwhile, and of more than koffi takes', async () => {
    const found = await Promise.all(
      Array.from({ length: 300 }, async () => {
        const errno = await calls().fsyncLater(-1)
        expect(calls().openat(-100, EMPTY_PATH, O_RDONLY, 0)).toBe(-1)
        return errnoName(errno)
      }),
    )
    expect(new Set(found)).toEqual(new Set(['EBADF']))
    expect(found).toHaveLength(300)
  })

  it('works on worker threads', async () => {
    // The module stands here as what it compiles to: koffi, loaded once more on the other thread.
    const code = `
      const koffi = require('koffi')
      const open = koffi.load(null).func('openat', 'int', ['int', 'void *', 'int', 'uint'])
      require('node:worker_threads').parentPort.postMessage([open(-100, Buffer.from('/nowhere\\0'), 0, 0), koffi.errno()])`
    expect(calls().close(-1)).toBe(-1)
    const answer = await new Promise((resolve, reject) => {
      const worker = new Worker(code, { eval: true })
      worker.once('message', resolve).once('error', reject)
    })
    expect(answer).toEqual([-1, 2])
  })
})

describe('errors of calls', () => {
  it('are shaped like those of node:fs', () => {
    const error = errnoError(28, 'openat', byteString('etc/mötd\n'))
    expect({ ...error, message: error.message }).toEqual({
      code: 'ENOSPC',
      errno: -28,
      syscall: 'openat',
      path: 'etc/mötd\\x0a',
      message: "ENOSPC: no space left on device, openat 'etc/mötd\\x0a'",
    })
  })

  it('leave the path out where there is none', () => {
    expect(errnoError(9, 'close')).not.toHaveProperty('path')
    expect(errnoError(9, 'close').message).toBe('EBADF: bad file descriptor, close')
  })

  it('can be told for another path, and keep what they came from', () => {
    const error = errnoError(13, 'mkdirat', byteString('b'))
    const moved = withPath(error, byteString('/a/b'))
    expect(moved).toMatchObject({
      code: 'EACCES',
      errno: -13,
      syscall: 'mkdirat',
      path: '/a/b',
      cause: error,
    })
    expect(moved.message).toBe("EACCES: permission denied, mkdirat '/a/b'")
  })

  it.each([
    [1, 'EPERM'],
    [11, 'EAGAIN'],
    [37, 'ENOLCK'],
    [40, 'ELOOP'],
    [61, 'ENODATA'],
    [95, 'ENOTSUP'],
    [117, 'EUCLEAN'],
    [122, 'EDQUOT'],
    [524, 'E524'],
  ])('have the name that Node gives %i, or one made of the number', (number, name) => {
    expect(errnoName(number)).toBe(name)
  })
})
