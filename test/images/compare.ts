/**
 * Comparing two trees, given as the lines of treeLines(), part by part; and what umoci is known to do wrong, each fault
 * with its reason and matched as narrowly as it can be told.
 */

export const PARTS = [
  'kind',
  'mode',
  'owner',
  'size',
  'mtime',
  'device',
  'target',
  'link',
  'xattrs',
  'content',
] as const

export type Part = (typeof PARTS)[number]

export interface Difference {
  readonly path: string
  /** `entry` when one of the trees does not have the path at all. */
  readonly part: Part | 'entry'
  readonly groot: string | null
  readonly umoci: string | null
}

type Entry = Readonly<Record<Part, string>>

/** Every difference of two trees, by path. */
export function compareTrees(groot: readonly string[], umoci: readonly string[]): Difference[] {
  const [ours, theirs] = [entriesOf(groot), entriesOf(umoci)]
  const paths = [...new Set([...ours.keys(), ...theirs.keys()])].sort()
  return paths.flatMap((path) => compareEntries(path, ours.get(path), theirs.get(path)))
}

function compareEntries(path: string, ours: Entry | undefined, theirs: Entry | undefined): Difference[] {
  if (ours === undefined || theirs === undefined) {
    return [{ path, part: 'entry', groot: ours?.kind ?? null, umoci: theirs?.kind ?? null }]
  }
  return PARTS.filter((part) => ours[part] !== theirs[part]).map((part) => ({
    path,
    part,
    groot: ours[part],
    umoci: theirs[part],
  }))
}

function entriesOf(lines: readonly string[]): Map<string, Entry> {
  const entries = lines.map((line): [string, Entry] => {
    const [path, ...parts] = line.split(' ')
    if (parts.length !== PARTS.length)
      throw new Error(`A line of a tree has ${parts.length + 1} parts: ${line}`)
    return [path!, Object.fromEntries(PARTS.map((part, i) => [part, parts[i]!])) as Record<Part, string>]
  })
  return new Map(entries)
}

export interface Context {
  /** Directories that no layer names. */
  readonly implicit: ReadonlySet<string>
  /** When the unpacking began and ended, in seconds. */
  readonly umociRan: readonly [from: number, to: number]
}

export interface UmociFault {
  readonly name: string
  readonly why: string
  explains(difference: Difference, context: Context): boolean
}

/** What umoci 0.4.7 does otherwise, and why that is its fault and not groot's. */
export const UMOCI_FAULTS: readonly UmociFault[] = [
  {
    name: 'implicit-directory-time',
    why: 'a directory that no layer names gets the time of the unpacking, so that no two unpackings are equal; groot sets 0',
    explains: ({ path, part, groot, umoci }, { implicit, umociRan }) =>
      part === 'mtime' &&
      implicit.has(path) &&
      groot === '0.000000000' &&
      Number(umoci) >= umociRan[0] - 1 &&
      Number(umoci) <= umociRan[1] + 1,
  },
  {
    name: 'blank-xattr-lost',
    why: 'an extended attribute with an empty value is dropped: Go takes an empty PAX value for one that was deleted',
    explains: ({ part, groot, umoci }) => {
      if (part !== 'xattrs' || groot === null || umoci === null) return false
      const kept = groot.split(',').filter((pair) => !pair.endsWith('='))
      return kept.length < groot.split(',').length && (kept.join(',') || '-') === umoci
    },
  },
]

export interface Judgement {
  /** What no fault of umoci explains. */
  readonly unexplained: readonly Difference[]
  /** Names of the faults that were met, sorted. */
  readonly faults: readonly string[]
}

export function judge(differences: readonly Difference[], context: Context): Judgement {
  const faults = new Set<string>()
  const unexplained = differences.filter((difference) => {
    const fault = UMOCI_FAULTS.find((each) => each.explains(difference, context))
    if (fault !== undefined) faults.add(fault.name)
    return fault === undefined
  })
  return { unexplained, faults: [...faults].sort() }
}
