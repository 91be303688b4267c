/**
 * Which operations of this thread do without syncs: those of a store that may be lost (lib/store/unsynced.ts).
 *
 * It holds for all that an operation calls, drivers included, also after it has waited for something. Whatever belongs to no
 * operation is carried out with syncs, as long as it is not called beside operations that all do without: what the library is
 * asked to write is one.
 */
import { AsyncLocalStorage } from 'node:async_hooks'

type Mode = 'with' | 'without'

/** Operations that are under way and said what they do when nobody else did otherwise. */
const alike: Record<Mode, number> = { with: 0, without: 0 }
/**
 * What an operation does beside others that do otherwise. Used only then: Node before 24 takes longer for each promise of the
 * thread as soon as this is (a twentieth of a whole create).
 */
const otherwise = new AsyncLocalStorage<Mode>()

/** Carries out work whose syncs are left out. */
export function withoutSyncs<T>(work: () => Promise<T>): Promise<T> {
  return inMode('without', work)
}

/** Carries out work whose syncs are carried out, whatever others do beside it. */
export function withSyncs<T>(work: () => Promise<T>): Promise<T> {
  return inMode('with', work)
}

/** Whether syncs are carried out here; for handing the work on to another thread. */
export function isSyncing(): boolean {
  return (otherwise.getStore() ?? (alike.without > 0 ? 'without' : 'with')) === 'with'
}

async function inMode<T>(mode: Mode, work: () => Promise<T>): Promise<T> {
  const others = mode === 'with' ? alike.without : alike.with
  if (others > 0 || otherwise.getStore() !== undefined) return await otherwise.run(mode, work)
  alike[mode]++
  try {
    return await work()
  } finally {
    alike[mode]--
  }
}
