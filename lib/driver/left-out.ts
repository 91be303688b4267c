/**
 * What an unprivileged caller could not have of a tree: counted by kind, so that it can be kept with a base, and told with
 * each bundle; one warning each, not one a file.
 */
import type { RootfsSpec } from './contract.js'

export interface LeftOutKind {
  readonly what: string
  readonly count: number
  /** The first of them, for people. */
  readonly first: string
}

export class LeftOut {
  readonly #kinds = new Map<string, { count: number; first: string }>()

  add(what: string, path: string, detail: string): void {
    const kind = this.#kinds.get(what)
    if (kind === undefined)
      this.#kinds.set(what, { count: 1, first: detail === '' ? path : `${path} (${detail})` })
    else kind.count++
  }

  list(): LeftOutKind[] {
    return [...this.#kinds].map(([what, kind]) => ({ what, ...kind }))
  }
}

export function reportLeftOut({ id, events }: RootfsSpec, leftOut: readonly LeftOutKind[]): void {
  for (const { what, count, first } of leftOut) {
    events({
      kind: 'warning',
      code: `${what}-left-out`,
      message: `${count} ${what}${count === 1 ? '' : 's'} left out, as ownership is ignored; the first: ${first}`,
      facts: { id, what, count },
    })
  }
}
