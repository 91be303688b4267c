import {
  closeSync,
  fstatSync,
  mkdtempSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { ImageMounts } from '../../../drivers/overlay/image-mounts.js'
import type { BaseId } from '../../../lib/driver/contract.js'

const directory = mkdtempSync(join(tmpdir(), 'groot-image-mounts-'))
afterAll(() => rmSync(directory, { recursive: true }))
const path = join(directory, 'image')
const id = 'sha256-a' as BaseId

/** A descriptor stands for a mount: what matters is when it is made and closed. */
const mount = () => openSync(directory, 'r')

function isOpen(fd: number): boolean {
  try {
    fstatSync(fd)
    return true
  } catch {
    return false
  }
}

describe('mounts of images that are kept', () => {
  let image: number
  let mounts: ImageMounts
  beforeEach(() => {
    writeFileSync(path, 'image')
    image = openSync(path, 'r')
    mounts = new ImageMounts()
  })
  afterEach(() => {
    mounts[Symbol.dispose]()
    closeSync(image)
  })

  /** @returns the mount that was handed out */
  const use = (serves = true, name = id): number => {
    let used = -1
    mounts.with(name, image, mount, (fd) => {
      used = fd
      return serves
    })
    return used
  }

  it('are handed out again, and closed with their keeper', () => {
    const first = use()
    expect(isOpen(first)).toBe(true)
    expect(use()).toBe(first)
    mounts[Symbol.dispose]()
    expect(isOpen(first)).toBe(false)
  })

  it('are closed when they cannot serve again, and when their use fails', () => {
    expect(isOpen(use(false))).toBe(false)
    let failed = -1
    const fail = () =>
      mounts.with(id, image, mount, (fd) => {
        failed = fd
        throw new Error('no')
      })
    expect(fail).toThrow('no')
    expect(isOpen(failed)).toBe(false)
  })

  it('are closed when their base goes away', () => {
    const first = use()
    mounts.drop(id)
    expect(isOpen(first)).toBe(false)
  })

  it('of a file that was replaced are not used', () => {
    use()
    const open = readdirSync('/proc/self/fd').length
    writeFileSync(`${path}.new`, 'another')
    renameSync(`${path}.new`, path)
    closeSync(image)
    image = openSync(path, 'r')
    let made = 0
    mounts.with(
      id,
      image,
      () => {
        made++
        return mount()
      },
      () => true,
    )
    expect([made, readdirSync('/proc/self/fd').length]).toEqual([1, open])
  })

  it('are not more than sixteen', () => {
    const fds = Array.from({ length: 17 }, (_, i) => use(true, `sha256-${i}` as BaseId))
    expect(fds.filter(isOpen)).toEqual(fds.slice(1))
  })

  it('are closed a second after their last use', () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })
    try {
      mounts = new ImageMounts()
      const first = use()
      vi.advanceTimersByTime(900)
      expect(use()).toBe(first)
      vi.advanceTimersByTime(900)
      expect(isOpen(first)).toBe(true)
      vi.advanceTimersByTime(1200)
      expect(isOpen(first)).toBe(false)
    } finally {
      vi.useRealTimers()
    }
  })
})
