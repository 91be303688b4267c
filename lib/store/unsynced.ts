/**
 * Stores that do without syncs: fast, and of no use after a power cut unless somebody looks.
 *
 * Before anything is written without a sync, `gc/unsynced.json` is, and that durably. It holds the id of this start of the
 * machine: as long as that is the same, everything is as it was written, on disk or in memory. Under another id, nothing
 * that the store has may be trusted before it was verified; who wants to write next does that (recover.ts of operations).
 */
import { readFileSync } from 'node:fs'
import * as field from './fields.js'
import type { StoreLayout } from './layout.js'
import { readRecord, removeRecord, writeRecord } from './records.js'

export type UnsyncedState =
  /** All is synced. */
  | 'none'
  /** Something may be in memory only; the machine was not started again since. */
  | 'here'
  /** The machine was started again since something was written without a sync. */
  | 'before'

/** @throws an errno error */
export function unsyncedState({ unsynced }: StoreLayout): UnsyncedState {
  const boot = readStamp(unsynced)
  if (boot === null) return 'none'
  return boot === bootId() ? 'here' : 'before'
}

/** Says that what follows is not synced. Durable when it returns. */
export function stampUnsynced({ unsynced }: StoreLayout): void {
  writeRecord(unsynced, { format: 1, boot: bootId(), since: new Date().toISOString() })
}

/** Says that all is synced, which it must be. */
export function clearUnsynced({ unsynced }: StoreLayout): void {
  removeRecord(unsynced)
}

/** The boot that is stamped, or null. What cannot be read is none that is known. */
function readStamp(path: string): string | null {
  try {
    return readRecord(path, (value) => field.string(field.object(value, 'unsynced').boot, 'boot'))
  } catch (error) {
    if ((error as { code?: unknown }).code !== 'record-damaged') throw error
    return 'unknown'
  }
}

/** Another after every start of the machine, which no process lives through. */
let known: string | undefined

function bootId(): string {
  known ??= readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim()
  return known
}
