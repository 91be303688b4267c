/**
 * koffi, which calls C functions.
 */
import { createRequire } from 'node:module'
import type koffi from 'koffi'

export type Koffi = typeof koffi

/** Loads it. Not an import: where its binary is missing, an import would fail for what makes no system call. */
export function loadKoffi(): Koffi {
  return createRequire(import.meta.url)('koffi') as Koffi
}
