import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { wholeBlocks } from '../../../lib/quota/limited-space.js'
import { imageBytes } from '../../../lib/quota/loop-space.js'
import { FIRST_PROJECT, PROJECTS_OF_A_STORE, ProjectIds } from '../../../lib/quota/project-ids.js'
import type { BundleId } from '../../../lib/store/bundle-id.js'

const [ONE, TWO] = ['one', 'two'] as BundleId[]

let directory: string
const used = new Set<number>()
const forgotten: number[] = []
const kernel = {
  isUsed: (_: string, project: number) => used.has(project),
  forget: (_: string, project: number) => void forgotten.push(project),
}
const open = () => new ProjectIds(`${directory}/projects`, kernel)
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'groot-projects-'))
  used.clear()
  forgotten.length = 0
})
afterEach(() => rmSync(directory, { recursive: true }))

describe('project ids', () => {
  it('are taken one after the other, of one range for all processes', () => {
    const first = open().take(ONE!)
    expect((first - FIRST_PROJECT) % PROJECTS_OF_A_STORE).toBe(0)
    expect(first).toBeGreaterThanOrEqual(FIRST_PROJECT)
    expect(first + PROJECTS_OF_A_STORE).toBeLessThanOrEqual(2 ** 31)
    expect(open().take(TWO!)).toBe(first + 1)
    expect(open().bundles()).toEqual(['one', 'two'])
  })

  it('are given back by bundle, also twice, and taken again', () => {
    const ids = open()
    const first = ids.take(ONE!)
    ids.take(TWO!)
    ids.giveBack(ONE!)
    ids.giveBack(ONE!)
    expect(forgotten).toEqual([first])
    expect(ids.bundles()).toEqual(['two'])
    expect(ids.take(ONE!)).toBe(first)
  })

  it('are passed over when the kernel counts something for them', () => {
    const ids = open()
    const first = ids.take(ONE!)
    used.add(first + 1).add(first + 2)
    expect(ids.take(TWO!)).toBe(first + 3)
  })

  it('leave nothing behind where none was taken', () => {
    open().giveBack(ONE!)
    expect(open().bundles()).toEqual([])
    expect(readdirSync(directory)).toEqual([])
  })
})

describe('sizes', () => {
  it.each([
    [0, 0],
    [4095, 0],
    [4096, 4096],
    [10_000, 8192],
  ])('of %i bytes are %i in whole blocks', (bytes, blocks) => {
    expect(wholeBlocks(bytes)).toBe(blocks)
  })

  it.each([1, 10_000, 2 ** 30, 2 ** 40])('of a file for %i bytes leave room for a larger limit', (bytes) => {
    const size = imageBytes(bytes)
    expect(size % (1024 * 1024)).toBe(0)
    expect(size).toBeGreaterThan(bytes + 512 * 1024 * 1024)
    expect(size).toBeLessThan(bytes * 1.1 + 20 * 2 ** 30)
  })
})
