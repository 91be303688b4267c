import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { pathString } from '../../../lib/linux/c-string.js'
import { settleMount, unmount } from '../../../lib/linux/mount-context.js'
import { forgetVolatile, makeOverlay, type WritableLayers } from '../../../lib/linux/overlay-mount.js'
import { isRoot, useScratch } from './scratch.js'

const scratch = useScratch()

function writableAt(name: string, volatile = true): WritableLayers {
  const [upper, work] = [`${scratch.path}/${name}/upper`, `${scratch.path}/${name}/work`]
  for (const path of [upper, work]) mkdirSync(path, { recursive: true })
  return { upper, work, volatile }
}

/** Mounts an overlay over a directory; an empty one when none is given. @returns where */
function mountOver(lower: string | null, name: string, writable = writableAt(name)): string {
  const below = lower ?? `${scratch.path}/lower`
  mkdirSync(below, { recursive: true })
  const at = `${scratch.path}/${name}/at`
  mkdirSync(at, { recursive: true })
  settleMount(makeOverlay({ lowers: [pathString(below)], data: [], writable, verity: false }), pathString(at))
  return at
}

describe.skipIf(!isRoot)(`a volatile overlay${isRoot ? '' : ' (needs root)'}`, () => {
  it('is refused a second time, until its mark is taken away', () => {
    const at = mountOver(null, 'one')
    writeFileSync(`${at}/written`, 'kept')
    expect(readFileSync('/proc/self/mountinfo', 'latin1')).toMatch(new RegExp(` ${at} .*\\bvolatile\\b`))
    unmount(at)
    forgetVolatile(`${scratch.path}/one/work`)
    expect(readFileSync(`${mountOver(null, 'one')}/written`, 'utf8')).toBe('kept')
    unmount(at)
    expect(() => mountOver(null, 'one')).toThrow('EINVAL')
  })

  it('leaves no mark when it cannot be mounted, so that another way can be tried', () => {
    const first = mountOver(null, 'first', writableAt('first', false))
    const second = mountOver(first, 'second', writableAt('second', false))
    // One over these two would be too many, which the kernel finds out when it has looked at the upper layer.
    expect(() => mountOver(second, 'third')).toThrow()
    expect(existsSync(`${scratch.path}/third/work/work`)).toBe(true)
    expect(existsSync(`${scratch.path}/third/work/work/incompat`)).toBe(false)
    unmount(mountOver(null, 'third'))
    for (const at of [second, first]) unmount(at)
  })
})
