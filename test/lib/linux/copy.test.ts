import { execFileSync, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import {
  closeSync,
  existsSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readFileSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { describe, expect, it } from 'vitest'
import { ContentCopier } from '../../../lib/linux/copy.js'
import { runAtOnce } from '../../../lib/linux/slices.js'
import { statDescriptor } from '../../../lib/linux/stat.js'
import { isRoot, thrownBy, useScratch } from './scratch.js'

const scratch = useScratch()

/** Copies a file and says how many bytes the copier saw and how many steps it made. */
function copy(
  from: string,
  to: string,
  copier = new ContentCopier(),
  size?: number,
): { bytes: number; steps: number } {
  const [source, target] = [openSync(from, 'r'), openSync(to, 'wx')]
  try {
    const stat = statDescriptor(source)
    const work = copier.copy(
      source,
      { ...stat, size: size ?? stat.size },
      target,
      statDescriptor(target).device,
    )
    for (let steps = 1; ; steps++) {
      const step = work.next()
      if (step.done) return { bytes: step.value, steps }
    }
  } finally {
    closeSync(source)
    closeSync(target)
  }
}

/** 3 MiB of size with data at the start, in the middle and at the end. */
function sparseFile(path: string): void {
  const fd = openSync(path, 'w')
  writeSync(fd, randomBytes(5000), 0, 5000, 0)
  writeSync(fd, randomBytes(10_000), 0, 10_000, 1_000_000)
  writeSync(fd, randomBytes(77), 0, 77, 3 * 1024 * 1024 - 77)
  closeSync(fd)
}

describe('copying contents', () => {
  it.each([0, 1, 4096, 4097, 1_000_003])('gives the same %i bytes', (size) => {
    writeFileSync(`${scratch.path}/a`, randomBytes(size))
    expect(copy(`${scratch.path}/a`, `${scratch.path}/b`).bytes).toBe(size)
    expect(readFileSync(`${scratch.path}/b`).equals(readFileSync(`${scratch.path}/a`))).toBe(true)
  })

  it('keeps holes where they are, at the end too', () => {
    sparseFile(`${scratch.path}/a`)
    const size = 3 * 1024 * 1024 + 1_000_000
    const fd = openSync(`${scratch.path}/a`, 'r+')
    ftruncateSync(fd, size)
    closeSync(fd)
    expect(copy(`${scratch.path}/a`, `${scratch.path}/b`).bytes).toBe(size)
    const [a, b] = [statSync(`${scratch.path}/a`), statSync(`${scratch.path}/b`)]
    expect(b.size).toBe(size)
    expect(b.blocks).toBeLessThanOrEqual(a.blocks)
    expect(readFileSync(`${scratch.path}/b`).equals(readFileSync(`${scratch.path}/a`))).toBe(true)
  })

  it('makes a file that is one hole', () => {
    writeFileSync(`${scratch.path}/a`, '')
    const fd = openSync(`${scratch.path}/a`, 'r+')
    ftruncateSync(fd, 10_000_000_000)
    closeSync(fd)
    expect(copy(`${scratch.path}/a`, `${scratch.path}/b`)).toEqual({ bytes: 10_000_000_000, steps: 1 })
    expect(statSync(`${scratch.path}/b`)).toMatchObject({ size: 10_000_000_000, blocks: 0 })
  })

  it('says how much there was when the source is shorter than it was said to be', () => {
    writeFileSync(`${scratch.path}/a`, randomBytes(5000))
    expect(copy(`${scratch.path}/a`, `${scratch.path}/b`, new ContentCopier(), 6000).bytes).toBeLessThan(6000)
    sparseFile(`${scratch.path}/s`)
    expect(copy(`${scratch.path}/s`, `${scratch.path}/t`, new ContentCopier(), 9_000_000).bytes).toBe(
      3 * 1024 * 1024,
    )
  })

  it('works in steps, so that others get their turn', () => {
    writeFileSync(`${scratch.path}/a`, randomBytes(20 * 1024 * 1024))
    const { bytes, steps } = copy(`${scratch.path}/a`, `${scratch.path}/b`)
    expect(bytes).toBe(20 * 1024 * 1024)
    // One where the filesystem shares blocks.
    expect([1, 10]).toContain(steps)
  })

  it.skipIf(!existsSync('/dev/shm'))(
    'copies between filesystems, and again with what it learned (needs /dev/shm)',
    () => {
      const copier = new ContentCopier()
      const other = `/dev/shm/groot-test-${process.pid}`
      try {
        sparseFile(`${scratch.path}/s`)
        writeFileSync(`${scratch.path}/a`, randomBytes(700_000))
        for (const from of ['a', 's', 'a']) {
          execFileSync('rm', ['-f', other])
          expect(copy(`${scratch.path}/${from}`, other, copier).bytes).toBe(
            statSync(`${scratch.path}/${from}`).size,
          )
          expect(readFileSync(other).equals(readFileSync(`${scratch.path}/${from}`))).toBe(true)
        }
      } finally {
        execFileSync('rm', ['-f', other])
      }
    },
  )

  it('copies by hand what the kernel does not copy: files of /proc, whose size is 0', () => {
    expect(copy('/proc/self/stat', `${scratch.path}/b`, new ContentCopier(), 20)).toEqual({
      bytes: 20,
      steps: 1,
    })
    expect(readFileSync(`${scratch.path}/b`, 'utf8')).toMatch(/^[0-9]+ \(/)
  })

  it('fails with the error of the call', () => {
    writeFileSync(`${scratch.path}/a`, 'abc')
    const source = openSync(`${scratch.path}/a`, 'r')
    const stat = statDescriptor(source)
    const error = thrownBy(() => runAtOnce(new ContentCopier().copy(source, stat, 9999, stat.device)))
    expect(error).toMatchObject({ code: 'EBADF' })
    closeSync(source)
  })

  const canBtrfs = isRoot && spawnSync('mkfs.btrfs', ['--version']).status === 0
  it.skipIf(!canBtrfs)('shares blocks on btrfs (needs root and mkfs.btrfs)', () => {
    const [image, mount] = [`${scratch.path}/image`, `${scratch.path}/mount`]
    mkdirSync(mount)
    execFileSync('truncate', ['-s', '256M', image])
    execFileSync('mkfs.btrfs', ['-q', image])
    execFileSync('mount', ['-o', 'loop', image, mount])
    try {
      writeFileSync(`${mount}/a`, randomBytes(8 * 1024 * 1024))
      expect(copy(`${mount}/a`, `${mount}/b`)).toEqual({ bytes: 8 * 1024 * 1024, steps: 1 })
      expect(readFileSync(`${mount}/b`).equals(readFileSync(`${mount}/a`))).toBe(true)
      execFileSync('sync', ['-f', mount])
      const [, shared] = /^\s*(\S+)\s+(\S+)\s+(\S+)\s.*mount\/b$/m
        .exec(execFileSync('btrfs', ['filesystem', 'du', '--raw', `${mount}/b`], { encoding: 'utf8' }))!
        .slice(1)
      expect(shared).toBe('0')
    } finally {
      execFileSync('umount', [mount])
    }
  })
})
