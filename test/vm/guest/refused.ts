/**
 * Expecting one of groot's errors.
 */
import assert from 'node:assert/strict'

type Facts = Readonly<Record<string, string | number | null>>

/** Waits for a refusal with this code, and these facts among its facts. */
export async function refused(
  doing: Promise<unknown>,
  { code, ...facts }: { readonly code: string } & Facts,
): Promise<void> {
  await assert.rejects(doing, (error: { code?: unknown; facts?: Readonly<Record<string, unknown>> }) => {
    const found = Object.fromEntries(Object.keys(facts).map((key) => [key, error.facts?.[key]]))
    try {
      assert.deepEqual({ code: error.code, ...found }, { code, ...facts })
      return true
    } catch (difference) {
      throw Object.assign(difference as Error, { cause: error })
    }
  })
}
