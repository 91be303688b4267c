/** Writing, reading and dumping as inverses of each other, on trees that nobody thought of. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parseDump } from '../../../lib/composefs/dump-parse.js'
import { writeDump } from '../../../lib/composefs/dump-write.js'
import { readComposefs } from '../../../lib/composefs/erofs-read.js'
import { planComposefs, writeComposefs } from '../../../lib/composefs/erofs-write.js'
import type { ComposefsNode } from '../../../lib/composefs/node.js'
import { isGrootError } from '../../../lib/errors.js'
import { randomTree } from './random-nodes.js'

const versions = fc.constantFrom({}, { minVersion: 0, maxVersion: 0 }, { minVersion: 1, maxVersion: 1 })

function imageOf(root: ComposefsNode, options = {}): Buffer {
  return Buffer.concat([...writeComposefs(root, options)])
}

function dumpOf(root: ComposefsNode): Buffer {
  return Buffer.from([...writeDump(root)].join(''), 'latin1')
}

/** Null for trees that no image can hold, which random ones are now and then. */
function imageIfPossible(root: ComposefsNode, options: object): Buffer | null {
  try {
    return imageOf(root, options)
  } catch (error) {
    if (isGrootError(error) && error.code === 'composefs-refused') return null
    throw error
  }
}

describe.each([
  ['SHA-256', 64, 'sha256'],
  ['SHA-512', 128, 'sha512'],
] as const)('random trees with %s digests', (_, digits, algorithm) => {
  it('give an image that reads back to it, and whose dump makes it again', () => {
    let images = 0
    fc.assert(
      fc.property(randomTree(digits), versions, (tree, options) => {
        const image = imageIfPossible(tree, options)
        if (image === null) return
        images++
        const { root, header } = readComposefs(image)
        const again = { minVersion: header.version, maxVersion: header.version }
        expect(imageOf(root, again).equals(image)).toBe(true)
        expect(imageOf(parseDump(dumpOf(root), { algorithm }), again).equals(image)).toBe(true)
        // What was taken away by reading comes again: reading twice is reading once.
        expect(dumpOf(readComposefs(imageOf(root, again)).root).equals(dumpOf(root))).toBe(true)
      }),
      { numRuns: 150 },
    )
    expect(images).toBeGreaterThan(70)
  })

  it('give the same image by way of their dump', () => {
    fc.assert(
      fc.property(randomTree(digits), versions, (tree, options) => {
        const image = imageIfPossible(tree, options)
        if (image === null) return
        expect(imageOf(parseDump(dumpOf(tree), { algorithm }), options).equals(image)).toBe(true)
      }),
      { numRuns: 80 },
    )
  })
})

describe('planned images', () => {
  it('have the length and the pieces that they say, kept or lent', () => {
    fc.assert(
      fc.property(randomTree(), versions, (tree, options) => {
        const image = imageIfPossible(tree, options)
        if (image === null) return
        const plan = planComposefs(tree, options)
        expect(plan.byteLength).toBe(image.length)
        const lent: Buffer[] = []
        for (const piece of plan.lentChunks()) lent.push(Buffer.from(piece))
        expect(Buffer.concat(lent).equals(image)).toBe(true)
        expect(Buffer.concat([...plan.chunks()]).equals(image)).toBe(true)
      }),
      { numRuns: 60 },
    )
  })
})
