import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, mkdirSync, openSync, symlinkSync, writeFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { tryFlock, unlockFlock } from '../../../lib/linux/flock.js'
import {
  startWriteback,
  syncDirectory,
  syncFile,
  syncFilesystem,
  syncPathLater,
  writeContents,
  writeContentsLater,
} from '../../../lib/linux/sync.js'
import { openBelow, thrownBy, useScratch } from './scratch.js'

const scratch = useScratch()

describe('syncing', () => {
  it('takes files, directories and filesystems, and leaves nothing open', () => {
    writeFileSync(`${scratch.path}/f`, 'x'.repeat(100_000))
    const fd = openSync(`${scratch.path}/f`, 'r+')
    startWriteback(fd, 0, 0)
    syncFile(fd)
    syncFilesystem(fd)
    closeSync(fd)
    mkdirSync(`${scratch.path}/d`)
    symlinkSync('d', `${scratch.path}/link`)
    syncDirectory(`${scratch.path}/d`)
    syncDirectory(`${scratch.path}/link`)
    expect(openBelow(scratch.path)).toEqual([])
  })

  it('fails for what is not there, not a directory or not open', () => {
    writeFileSync(`${scratch.path}/f`, '')
    expect(thrownBy(() => syncDirectory(`${scratch.path}/none`))).toMatchObject({ code: 'ENOENT' })
    expect(thrownBy(() => syncDirectory(`${scratch.path}/f`))).toMatchObject({ code: 'ENOTDIR' })
    expect(thrownBy(() => syncFilesystem(9999))).toMatchObject({ code: 'EBADF', syscall: 'syncfs' })
    expect(thrownBy(() => startWriteback(9999, 0, 0))).toMatchObject({ code: 'EBADF' })
  })

  it('says whether there was a file to sync, and waits for no writer of a pipe', async () => {
    const path = (name: string) => `${scratch.path}/${name}`
    writeFileSync(path('f'), 'x')
    symlinkSync('f', path('link'))
    execFileSync('mkfifo', [path('pipe')])
    expect(await syncPathLater(path('f'))).toBe(true)
    for (const name of ['none', 'link', 'pipe', 'f/below'])
      expect(await syncPathLater(path(name))).toBe(false)
    expect(openBelow(scratch.path)).toEqual([])
  })

  it('waits for contents here as it does elsewhere', async () => {
    writeFileSync(`${scratch.path}/f`, 'x'.repeat(100_000))
    const fd = openSync(`${scratch.path}/f`, 'r+')
    const pipe = openSync('/dev/null', 'w')
    expect([writeContents(fd), await writeContentsLater(fd)]).toEqual([true, true])
    expect([writeContents(pipe), await writeContentsLater(pipe)]).toEqual([false, false])
    expect(thrownBy(() => writeContents(9999))).toMatchObject({ code: 'EBADF', syscall: 'sync_file_range' })
    for (const each of [fd, pipe]) closeSync(each)
  })

  it('takes a hint for what cannot be written back as one', () => {
    const fd = openSync('/dev/null', 'w')
    startWriteback(fd, 0, 0)
    closeSync(fd)
  })
})

describe('flock', () => {
  it('excludes two descriptors of one process', () => {
    const [a, b, c] = [0, 0, 0].map(() => openSync(`${scratch.path}/lock`, 'a'))
    expect(tryFlock(a!, 'exclusive')).toBe(true)
    expect(tryFlock(b!, 'exclusive')).toBe(false)
    expect(tryFlock(b!, 'shared')).toBe(false)
    unlockFlock(a!)
    expect(tryFlock(b!, 'shared')).toBe(true)
    expect(tryFlock(c!, 'shared')).toBe(true)
    expect(tryFlock(a!, 'exclusive')).toBe(false)
    closeSync(b!)
    closeSync(c!)
    expect(tryFlock(a!, 'exclusive')).toBe(true)
    closeSync(a!)
  })

  it('ends with the process that has it', async () => {
    writeFileSync(`${scratch.path}/lock`, '')
    const child = spawn('flock', [
      '--no-fork',
      `${scratch.path}/lock`,
      'sh',
      '-c',
      'echo held; exec sleep 60',
    ])
    await once(child.stdout, 'data')
    const fd = openSync(`${scratch.path}/lock`, 'r')
    expect(tryFlock(fd, 'exclusive')).toBe(false)
    child.kill('SIGKILL')
    await once(child, 'exit')
    expect(tryFlock(fd, 'exclusive')).toBe(true)
    closeSync(fd)
  })

  it('fails for what is not open', () => {
    expect(thrownBy(() => tryFlock(9999, 'shared'))).toMatchObject({ code: 'EBADF', syscall: 'flock' })
  })
})
