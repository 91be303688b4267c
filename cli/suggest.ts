/**
 * "Did you mean": the known word that is nearest to what was typed.
 */

/** The nearest of the candidates, or null when none is near enough to be meant. */
export function nearest(typed: string, candidates: readonly string[]): string | null {
  if (typed.length > 64) return null // nobody meant a word of ours
  let best: string | null = null
  let bestDistance = Math.max(1, Math.floor(typed.length / 3)) + 1
  for (const candidate of candidates) {
    const begins = typed.length >= 3 && candidate.startsWith(typed)
    const distance = begins ? 1 : editDistance(typed, candidate)
    if (distance < bestDistance) {
      best = candidate
      bestDistance = distance
    }
  }
  return best
}

/** Insertions, deletions, substitutions, and swaps of neighbours that turn one word into the other. */
function editDistance(a: string, b: string): number {
  let beforeLast: number[] = []
  let last = Array.from({ length: b.length + 1 }, (_, column) => column)
  for (let row = 1; row <= a.length; row++) {
    const current = [row]
    for (let column = 1; column <= b.length; column++) {
      const isSame = a[row - 1] === b[column - 1]
      const isSwap = row > 1 && column > 1 && a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1]
      const simple = Math.min(
        last[column]! + 1,
        current[column - 1]! + 1,
        last[column - 1]! + (isSame ? 0 : 1),
      )
      current.push(isSwap ? Math.min(simple, beforeLast[column - 2]! + 1) : simple)
    }
    beforeLast = last
    last = current
  }
  return last[b.length]!
}
