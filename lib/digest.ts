/**
 * Digests as the OCI image-spec writes them (descriptor.md, "Digests"), and the short form for messages.
 */
import { hash } from 'node:crypto'

/** `sha256:` and 64 lower-case hex digits, or `sha512:` and 128. */
export type Digest = string & { readonly __brand: 'Digest' }
/** Digest of a layer's plain tar (image-spec, config.md, "Layer DiffID"). */
export type DiffId = Digest & { readonly __diff: true }
/** Digest of a layer and all below it (image-spec, config.md, "Layer ChainID"). */
export type ChainId = Digest & { readonly __chain: true }
/** An fs-verity digest, lower-case hex without a prefix: 64 digits (SHA-256). The name of an object. */
export type VerityDigest = string & { readonly __brand: 'VerityDigest' }

const DIGEST = /^(?:sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$/

export function isDigest(value: unknown): value is Digest {
  return typeof value === 'string' && DIGEST.test(value)
}

export function isVerityDigest(value: unknown): value is VerityDigest {
  return typeof value === 'string' && /^[0-9a-f]{64}$/.test(value)
}

export type DigestAlgorithm = 'sha256' | 'sha512'

export function algorithmOf(digest: Digest): DigestAlgorithm {
  return digest.startsWith('sha512:') ? 'sha512' : 'sha256'
}

/** The hex part. */
export function encodedOf(digest: Digest): string {
  return digest.slice(digest.indexOf(':') + 1)
}

export function sha256(bytes: Uint8Array): Digest {
  return digestOf('sha256', bytes)
}

export function digestOf(algorithm: DigestAlgorithm, bytes: Uint8Array): Digest {
  return `${algorithm}:${hash(algorithm, bytes, 'hex')}` as Digest
}

/** `sha256:0123456789ab` for messages to people. */
export function shortDigest(digest: string): string {
  const colon = digest.indexOf(':')
  return digest.slice(0, colon + 1 + 12)
}
