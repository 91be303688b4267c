import { execFileSync } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  linkSync,
  lstatSync,
  mkdirSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { describe, expect, it } from 'vitest'
import { diskUsage, diskUsageInSlices } from '../../../lib/linux/disk-usage.js'
import { isRoot, openBelow, rejectionOf, thrownBy, useScratch, withoutPrivileges } from './scratch.js'

const scratch = useScratch()

function du(path: string): number {
  return Number(execFileSync('du', ['-sB1', '-x', path], { encoding: 'utf8' }).split('\t')[0])
}

describe('disk usage', () => {
  it('is what du counts: blocks, and a file with several names once', async () => {
    const tree = `${scratch.path}/tree`
    mkdirSync(`${tree}/a/b`, { recursive: true })
    writeFileSync(`${tree}/a/f`, 'x'.repeat(100_000))
    linkSync(`${tree}/a/f`, `${tree}/a/b/g`)
    linkSync(`${tree}/a/f`, `${tree}/h`)
    writeFileSync(`${tree}/sparse`, 'x')
    truncateSync(`${tree}/sparse`, 10_000_000)
    symlinkSync('/usr', `${tree}/link`)
    const wanted = { bytes: du(tree), entries: 8, unreadable: 0 }
    expect(diskUsage(tree)).toEqual(wanted)
    expect(await diskUsageInSlices(tree)).toEqual(wanted)
    expect(openBelow(scratch.path)).toEqual([])
  })

  it('of a file or symlink is its own', () => {
    writeFileSync(`${scratch.path}/f`, 'x'.repeat(5000))
    symlinkSync('f', `${scratch.path}/link`)
    expect(diskUsage(`${scratch.path}/f`)).toEqual({
      bytes: lstatSync(`${scratch.path}/f`).blocks * 512,
      entries: 1,
      unreadable: 0,
    })
    expect(diskUsage(`${scratch.path}/link`).bytes).toBe(lstatSync(`${scratch.path}/link`).blocks * 512)
    expect(thrownBy(() => diskUsage(`${scratch.path}/none`))).toMatchObject({ code: 'ENOENT' })
  })

  it('says how much it could not see', async () => {
    const tree = `${scratch.path}/tree`
    chmodSync(scratch.path, 0o755)
    mkdirSync(`${tree}/closed/inner`, { recursive: true })
    if (isRoot) for (const path of [tree, `${tree}/closed`]) chownSync(path, 65534, 65534)
    await withoutPrivileges(() => {
      chmodSync(`${tree}/closed`, 0)
      expect(diskUsage(tree)).toMatchObject({ entries: 2, unreadable: 1 })
      chmodSync(`${tree}/closed`, 0o700)
    })
  })

  it('ends when it is aborted', async () => {
    mkdirSync(`${scratch.path}/tree`)
    for (let i = 0; i < 20_000; i++) symlinkSync('x', `${scratch.path}/tree/${i}`)
    const abort = new AbortController()
    const work = diskUsageInSlices(scratch.path, abort.signal)
    setImmediate(() => abort.abort())
    expect(await rejectionOf(work)).toMatchObject({ code: 'aborted' })
    expect(openBelow(scratch.path)).toEqual([])
  })

  it.skipIf(!isRoot)('does not count what is mounted in it (needs root)', () => {
    const tree = `${scratch.path}/tree`
    mkdirSync(`${tree}/mount`, { recursive: true })
    execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', `${tree}/mount`])
    try {
      writeFileSync(`${tree}/mount/f`, 'x'.repeat(100_000))
      expect(diskUsage(tree)).toEqual({ bytes: du(tree), entries: 1, unreadable: 0 })
      expect(diskUsage(`${tree}/mount`).entries).toBe(2)
    } finally {
      execFileSync('umount', [`${tree}/mount`])
    }
  })
})
