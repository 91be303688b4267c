/** Reads whole tars in tests and keeps all that the reader says. */
import { type ErrorFacts, isGrootError } from '../../../lib/errors.js'
import type { TarEntry } from '../../../lib/layer/entry.js'
import { DEFAULT_LIMITS, type LayerLimits } from '../../../lib/layer/limits.js'
import { TarReader } from '../../../lib/layer/read-tar.js'

export interface CollectedMember {
  readonly entry: TarEntry
  /** As stored. */
  readonly content: Buffer
}

export interface Collected {
  readonly members: readonly CollectedMember[]
  /** Everything that is no content. */
  readonly raw: Buffer
  /** Raw bytes and contents in the order in which they came. */
  readonly all: Buffer
  /** What was called, in order: runs of raw and content bytes by their length, however many calls they took. */
  readonly events: readonly string[]
}

/** @param cuts lengths of the chunks; the rest comes in one */
export function collect(
  tar: Uint8Array,
  limits: Partial<LayerLimits> = {},
  cuts: readonly number[] = [],
): Collected {
  const members: { entry: TarEntry; content: Buffer }[] = []
  const raw: Buffer[] = []
  const all: Buffer[] = []
  const events: string[] = []
  let run: { kind: string; length: number } | null = null
  const endRun = (): void => {
    if (run !== null) events.push(`${run.kind} ${run.length}`)
    run = null
  }
  const addRun = (kind: string, length: number): void => {
    if (run?.kind !== kind) endRun()
    run = { kind, length: (run?.length ?? 0) + length }
  }
  const contents: Buffer[] = []
  const reader = new TarReader(
    {
      raw: (bytes) => {
        addRun('raw', bytes.length)
        raw.push(Buffer.from(bytes))
        all.push(Buffer.from(bytes))
      },
      entry: (entry) => {
        endRun()
        events.push(`entry ${entry.path}`)
        members.push({ entry, content: Buffer.alloc(0) })
      },
      content: (bytes) => {
        addRun('content', bytes.length)
        contents.push(Buffer.from(bytes))
        all.push(Buffer.from(bytes))
      },
      entryEnd: () => {
        endRun()
        events.push('end')
        members.at(-1)!.content = Buffer.concat(contents)
        contents.length = 0
      },
    },
    { ...DEFAULT_LIMITS, ...limits },
  )
  let at = 0
  for (const length of cuts) {
    if (at >= tar.length) break
    reader.write(tar.subarray(at, at + length))
    at += length
  }
  if (at < tar.length) reader.write(tar.subarray(at))
  reader.end()
  endRun()
  return { members, raw: Buffer.concat(raw), all: Buffer.concat(all), events }
}

/** The members' entries. */
export function entriesOf(tar: Uint8Array, limits: Partial<LayerLimits> = {}): TarEntry[] {
  return collect(tar, limits).members.map((member) => member.entry)
}

/** The file that a member describes, holes filled with zeros. */
export function expand(member: CollectedMember): Buffer {
  const { entry, content } = member
  if (entry.sparse === null) return content
  const file = Buffer.alloc(entry.size)
  let at = 0
  for (const run of entry.sparse) {
    content.copy(file, run.offset, at, at + run.length)
    at += run.length
  }
  return file
}

/** Code and facts of the error that the work ends with. */
export function refusal(work: () => unknown): { code: string; facts: ErrorFacts } {
  try {
    work()
  } catch (thrown) {
    if (!isGrootError(thrown)) throw thrown
    return { code: thrown.code, facts: thrown.facts }
  }
  throw new Error('Nothing was refused')
}
