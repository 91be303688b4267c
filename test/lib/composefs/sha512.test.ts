/**
 * Images whose objects are named by SHA-512 digests. No C tool writes them, so their bytes are held against the image of the same
 * tree with SHA-256 digests, from which they differ as the format says.
 */
import { describe, expect, it } from 'vitest'
import { byteString } from '../../../lib/bytes.js'
import { readComposefs } from '../../../lib/composefs/erofs-read.js'
import { writeComposefs } from '../../../lib/composefs/erofs-write.js'
import type { ComposefsNode } from '../../../lib/composefs/node.js'
import { composefsFromTree, treeFromComposefs } from '../../../lib/composefs/tree.js'
import { imageFsVerity, verityDigest } from '../../../lib/composefs/verity.js'
import type { Tree } from '../../../lib/tree/model.js'
import { directory } from './random-nodes.js'

const CONTENT = Buffer.alloc(10_000, 'content')
const LONG = verityDigest(CONTENT, 'sha512')

const TREE: Tree = treeFromComposefs(
  directory({
    a: {
      ...(directory() as ComposefsNode),
      kind: 'file',
      mode: 0o644,
      size: CONTENT.length,
      digest: verityDigest(CONTENT),
      payload: byteString(`${verityDigest(CONTENT).slice(0, 2)}/${verityDigest(CONTENT).slice(2)}`),
      children: null,
    },
  }),
)

function imageOf(root: ComposefsNode): Buffer {
  return Buffer.concat([...writeComposefs(root)])
}

/** The xattr entry that ends with a value, with what stands before it. */
function entryAt(image: Buffer, name: string): Buffer {
  const at = image.indexOf(name) - 4
  return image.subarray(at, at + 4 + image[at]! + image.readUInt16LE(at + 2))
}

describe('an image with SHA-512 digests', () => {
  const root = composefsFromTree(TREE, { digestOf: () => LONG })
  const image = imageOf(root)

  it('has them in its metacopy xattrs, as the kernel reads them, and in its redirects', () => {
    expect(entryAt(image, 'overlay.metacopy')).toEqual(
      Buffer.concat([
        Buffer.from([16, 4, 68, 0]),
        Buffer.from('overlay.metacopy'),
        Buffer.from([0, 68, 0, 2]),
        Buffer.from(LONG, 'hex'),
      ]),
    )
    expect(entryAt(image, 'overlay.redirect')).toEqual(
      Buffer.concat([
        Buffer.from([16, 4, 130, 0]),
        Buffer.from(`overlay.redirect/${LONG.slice(0, 2)}/${LONG.slice(2)}`),
      ]),
    )
  })

  it('differs from one with SHA-256 digests in nothing else before its xattrs', () => {
    const short = imageOf(composefsFromTree(TREE))
    const superblock = image.subarray(0, 1024 + 36)
    expect(superblock.equals(short.subarray(0, 1024 + 36))).toBe(true)
  })

  it('reads back to its nodes', () => {
    const { root: again } = readComposefs(image)
    const file = again.children!.get(byteString('a')) as ComposefsNode
    expect([file.digest, file.payload, file.size]).toEqual([
      LONG,
      `${LONG.slice(0, 2)}/${LONG.slice(2)}`,
      CONTENT.length,
    ])
    expect(imageOf(again).equals(image)).toBe(true)
  })

  it('has a fs-verity digest by either algorithm', () => {
    expect(imageFsVerity(writeComposefs(root), 'sha512')).toBe(verityDigest(image, 'sha512'))
    expect(imageFsVerity(writeComposefs(root))).toBe(verityDigest(image))
  })

  it('is no tree of a store, whose objects have SHA-256 digests', () => {
    expect(() => treeFromComposefs(readComposefs(image).root)).toThrow(
      expect.objectContaining({ code: 'composefs-refused' }),
    )
  })
})
