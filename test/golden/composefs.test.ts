/**
 * The composefs format against images that mkcomposefs 1.0.8 made: README.md here says how. Bytes, digests, refusals, and
 * that reading is the inverse of writing.
 */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { gunzipSync } from 'node:zlib'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parseDump } from '../../lib/composefs/dump-parse.js'
import { writeDump } from '../../lib/composefs/dump-write.js'
import { readComposefs } from '../../lib/composefs/erofs-read.js'
import { planComposefs, writeComposefs } from '../../lib/composefs/erofs-write.js'
import type { ComposefsNode } from '../../lib/composefs/node.js'
import { composefsFromTree, treeFromComposefs } from '../../lib/composefs/tree.js'
import { imageFsVerity, verityDigest } from '../../lib/composefs/verity.js'
import { isGrootError } from '../../lib/errors.js'
import { smallTree } from '../../lib/testkit/sample-tree.js'

interface Expected {
  readonly formatVersion: 0 | 1
  readonly size: number
  readonly sha256: string
  readonly fsverity: string
}
interface Vector {
  readonly name: string
  readonly about: string
  readonly file: string
  readonly reject?: boolean
  readonly expect?: Readonly<Record<'min0max1' | 'min0max0' | 'min1max1', Expected>>
}

const DIRECTORY = fileURLToPath(new URL('./composefs/', import.meta.url))
const VECTORS: readonly Vector[] = JSON.parse(readFileSync(`${DIRECTORY}index.json`, 'utf8')).vectors
const SETTINGS = {
  min0max1: {},
  min0max0: { minVersion: 0, maxVersion: 0 },
  min1max1: { minVersion: 1, maxVersion: 1 },
} as const
/** A fault of the tool itself, which counts the size of an attribute that it replaces twice. */
const QUIRK = 'reject-xattr-mark-shrink'

function dumpOf(vector: Vector): Buffer {
  const bytes = readFileSync(`${DIRECTORY}${vector.file}`)
  return vector.file.endsWith('.gz') ? gunzipSync(bytes) : bytes
}

function imageOf(root: ComposefsNode, options = {}): Buffer {
  return Buffer.concat([...writeComposefs(root, options)])
}

const whole = VECTORS.filter((vector) => vector.expect !== undefined)
const refused = VECTORS.filter((vector) => vector.reject === true && vector.name !== QUIRK)

describe('composefs images', () => {
  it('are held against all vectors there are', () => {
    expect([whole.length, refused.length]).toEqual([65, 19])
  })

  it.each(whole.map((vector) => [vector.name, vector] as const))(
    'of %s are the same bytes, and read back to them',
    (_, vector) => {
      for (const [setting, options] of Object.entries(SETTINGS)) {
        const expected = vector.expect![setting as keyof typeof SETTINGS]
        const image = imageOf(parseDump(dumpOf(vector)), options)
        const found = {
          size: image.length,
          sha256: createHash('sha256').update(image).digest('hex'),
          fsverity: imageFsVerity(image),
        }
        expect({ setting, ...found, formatVersion: readComposefs(image).header.version }).toEqual({
          setting,
          ...expected,
        })
        const { root, header } = readComposefs(image)
        const again = { minVersion: header.version, maxVersion: header.version }
        expect(imageOf(root, again).equals(image)).toBe(true)
        // By way of text, too.
        const text = Buffer.from([...writeDump(root)].join(''), 'latin1')
        expect(imageOf(parseDump(text), again).equals(image)).toBe(true)
      }
    },
  )

  it.each(refused.map((vector) => [vector.name, vector] as const))('of %s are refused', (_, vector) => {
    expect(() => imageOf(parseDump(dumpOf(vector)))).toThrow(expect.objectContaining({ kind: 'image' }))
  })

  it('say their length before they are written', () => {
    const vector = whole.find((each) => each.name === 'names-odd')!
    const plan = planComposefs(parseDump(dumpOf(vector)))
    expect(plan.byteLength).toBe(vector.expect!.min0max1.size)
  })

  it('that are damaged are refused or are the image of another tree, and never more than that', () => {
    const small = whole.filter((vector) => vector.expect!.min0max1.size <= 32_768)
    const images = small.map((vector) => imageOf(parseDump(dumpOf(vector))))
    const change = fc.record({
      image: fc.nat(),
      at: fc.nat(),
      byte: fc.nat({ max: 255 }),
      length: fc.nat({ max: 8 }),
    })
    fc.assert(
      fc.property(change, ({ image, at, byte, length }) => {
        const damaged = Buffer.from(images[image % images.length]!)
        const from = at % damaged.length
        damaged.fill(byte, from, Math.min(from + length, damaged.length))
        try {
          const { root, header } = readComposefs(damaged)
          const again = { minVersion: header.version, maxVersion: header.version }
          expect(imageOf(root, again).equals(damaged)).toBe(true)
        } catch (error) {
          expect(isGrootError(error) && error.code).toBe('composefs-invalid')
        }
      }),
      { numRuns: 3000 },
    )
  })

  it('that are cut or are no images at all are refused', () => {
    const image = imageOf(parseDump(dumpOf(whole[0]!)))
    for (const length of [0, 1, 31, 1023, 1151, 4096, image.length - 1]) {
      expect(() => readComposefs(image.subarray(0, length))).toThrow(
        expect.objectContaining({ code: 'composefs-invalid' }),
      )
    }
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 9000 }), (bytes) => {
        expect(() => readComposefs(bytes)).toThrow(expect.objectContaining({ code: 'composefs-invalid' }))
      }),
      { numRuns: 200 },
    )
  })

  it('are made of trees, and give the same image when their tree is made an image again', () => {
    const tree = smallTree((bytes) => verityDigest(bytes))
    const image = imageOf(composefsFromTree(tree))
    const back = treeFromComposefs(readComposefs(image).root)
    expect([...back.root.children.keys()].sort()).toEqual([...tree.root.children.keys()].sort())
    expect(imageOf(composefsFromTree(back)).equals(image)).toBe(true)
  })
})

describe('dump text', () => {
  it('of any bytes is read or refused, and nothing else', () => {
    const vector = whole.find((each) => each.name === 'names-odd')!
    const text = dumpOf(vector)
    fc.assert(
      fc.property(
        fc.nat({ max: text.length - 1 }),
        fc.uint8Array({ minLength: 1, maxLength: 4 }),
        (at, bytes) => {
          const damaged = Buffer.from(text)
          damaged.set(bytes.subarray(0, damaged.length - at), at)
          try {
            imageOf(parseDump(damaged))
          } catch (error) {
            expect(isGrootError(error) && error.kind).toBe('image')
          }
        },
      ),
      { numRuns: 1500 },
    )
  })
})
