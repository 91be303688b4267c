/**
 * What tests of this room share: a directory that is removed afterwards, another user's eyes, and a look at /proc.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { afterEach, beforeEach } from 'vitest'

export const isRoot = process.geteuid?.() === 0

/** A fresh directory for each test. */
export function useScratch(): { readonly path: string } {
  const scratch = { path: '' }
  beforeEach(() => {
    scratch.path = mkdtempSync(`${tmpdir()}/groot-test-`)
  })
  afterEach(() => {
    // Not Node's rm: it cannot remove what is deeper than a path can say, nor what forbids it.
    spawnSync('chmod', ['-Rf', 'u+rwX', scratch.path])
    execFileSync('rm', ['-rf', scratch.path])
  })
  return scratch
}

/** Does something without privileges: as nobody when the tests run as root, else as who runs them. */
export async function withoutPrivileges<T>(action: () => T | Promise<T>): Promise<T> {
  if (!isRoot) return await action()
  process.setegid!(65534)
  process.seteuid!(65534)
  try {
    return await action()
  } finally {
    process.seteuid!(0)
    process.setegid!(0)
  }
}

/** What the descriptors of this process lead to below a path. */
export function openBelow(path: string): string[] {
  return readdirSync('/proc/self/fd')
    .map((fd) => {
      try {
        return readlinkSync(`/proc/self/fd/${fd}`)
      } catch {
        return ''
      }
    })
    .filter((target) => target === path || target.startsWith(`${path}/`))
}

/** What an action throws. */
export function thrownBy(action: () => unknown): Record<string, unknown> {
  try {
    action()
  } catch (error) {
    return error as Record<string, unknown>
  }
  throw new Error('nothing was thrown')
}

export async function rejectionOf(promise: Promise<unknown>): Promise<Record<string, unknown>> {
  return await promise.then(
    () => {
      throw new Error('nothing was thrown')
    },
    (error) => error as Record<string, unknown>,
  )
}
