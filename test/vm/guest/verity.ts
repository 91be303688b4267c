/**
 * fs-verity as the kernel does it, against the digests that groot computes.
 */
import assert from 'node:assert/strict'
import { closeSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { type VerityAlgorithm, verityDigest } from '../../../lib/composefs/verity.js'
import { enableVerity, measureVerity } from '../../../lib/linux/verity.js'
import type { Check, Checks } from './check.js'

/** Both sides of a block; of what one block of SHA-512 and of SHA-256 digests covers; and a tree of two levels. */
const SIZES = [0, 1, 4095, 4096, 4097, 262_144, 262_145, 524_288, 524_289, 1_048_577]

export const CHECKS: Checks = {
  ...Object.fromEntries(
    (['sha256', 'sha512'] as const).flatMap((algorithm) =>
      SIZES.map((size) => [
        `measures ${size} bytes as groot computes them, by ${algorithm}`,
        measuring(algorithm, size),
      ]),
    ),
  ),

  'measures nothing of a file without fs-verity': ({ data }) => {
    const path = `${data}/plain`
    writeFileSync(path, 'plain')
    assert.equal(reading(path, measureVerity), null)
  },

  'enables it twice without complaint': ({ data }) => {
    const path = `${data}/twice`
    writeFileSync(path, 'twice')
    assert.equal(
      reading(path, (fd) => enableVerity(fd) && enableVerity(fd)),
      true,
    )
  },

  'lets nobody write to a file with fs-verity': ({ data }) => {
    const path = `${data}/sealed`
    writeFileSync(path, 'sealed')
    reading(path, (fd) => enableVerity(fd))
    assert.throws(() => openSync(path, 'r+'), { code: 'EPERM' })
  },

  'does not enable it while somebody may write': ({ data }) => {
    const path = `${data}/open`
    const writer = openSync(path, 'w')
    try {
      assert.throws(() => reading(path, (fd) => enableVerity(fd)), { code: 'ETXTBSY' })
    } finally {
      closeSync(writer)
    }
  },

  'says where there is none': () => {
    writeFileSync('/tmp/none', 'a filesystem in memory')
    assert.equal(
      reading('/tmp/none', (fd) => enableVerity(fd)),
      false,
    )
    assert.equal(reading('/tmp/none', measureVerity), null)
  },
}

function measuring(algorithm: VerityAlgorithm, size: number): Check {
  return ({ data }) => {
    const content = Buffer.alloc(size)
    // No two blocks are equal.
    for (let at = 0; at < size; at++) content[at] = (at * 7 + (at >> 8) * 13 + (at >> 16)) & 0xff
    mkdirSync(`${data}/measured`, { recursive: true })
    const path = `${data}/measured/${algorithm}-${size}`
    writeFileSync(path, content)
    assert.equal(
      reading(path, (fd) => enableVerity(fd, algorithm)),
      true,
    )
    assert.deepEqual(reading(path, measureVerity), { algorithm, digest: verityDigest(content, algorithm) })
    assert.ok(readFileSync(path).equals(content))
  }
}

function reading<T>(path: string, use: (fd: number) => T): T {
  const fd = openSync(path, 'r')
  try {
    return use(fd)
  } finally {
    closeSync(fd)
  }
}
