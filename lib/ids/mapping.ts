/**
 * Id mappings: which ids of the host the ids of a container are, as user_namespaces(7) has it.
 *
 * A mapping is a value, checked once and then trusted. Nothing here reads files or knows what ids belong to: trees are
 * mapped by lib/tree/map-owners.ts.
 */
import { hash } from 'node:crypto'
import { UsageError } from '../errors.js'

/** Ids `containerId` to `containerId + size - 1` of the container are those from `hostId` on of the host. */
export interface IdRange {
  readonly containerId: number
  readonly hostId: number
  readonly size: number
}

/** What becomes of files whose owner the container has no id for. */
export type UnmappedIds = 'refuse' | 'squash'

/** A checked mapping; ranges stand by container id, and both lists have a range for id 0. */
export interface IdMapping {
  readonly uid: readonly IdRange[]
  readonly gid: readonly IdRange[]
  readonly unmapped: UnmappedIds
}

/** What asks for a mapping; see checkMapping for what it has to be. */
export interface IdMappingRequest {
  readonly uid: readonly IdRange[]
  readonly gid: readonly IdRange[]
  /** Default: `refuse`. */
  readonly unmapped?: UnmappedIds
}

/** The id that stands for all without one in a container, as in the kernel (`overflowuid`). */
export const OVERFLOW_ID = 65_534

const MAX_ID = 2 ** 32 - 2 // 2^32 - 1 is (uid_t)-1, "no id" to every system call
const MAX_RANGES = 340 // what the kernel takes as the map of a namespace, since Linux 4.15

/**
 * Reads a range as `CONTAINER:HOST:SIZE`, three decimal numbers.
 *
 * @param option the option that has the text, for the error
 * @throws {UsageError} `option-invalid`
 */
export function parseIdRange(text: string, option: string): IdRange {
  const [, containerId, hostId, size] =
    /^(\d{1,10}):(\d{1,10}):(\d{1,10})$/.exec(typeof text === 'string' ? text : '') ?? []
  if (containerId === undefined || hostId === undefined || size === undefined) {
    throw invalid(option, String(text), 'it needs the form CONTAINER:HOST:SIZE, as 0:100000:65536')
  }
  const range = { containerId: Number(containerId), hostId: Number(hostId), size: Number(size) }
  checkRange(range, option)
  return range
}

/**
 * Checks all that can be said of a mapping without looking at an image.
 *
 * Both kinds of ids have to be mapped, and id 0 among them: a namespace whose groups have no map cannot be entered, and
 * runtimes begin as root of the container.
 *
 * @param request may come from a program that no compiler has looked at
 * @throws {UsageError} `option-invalid`; the facts name the option and the range
 */
export function checkMapping(request: IdMappingRequest): IdMapping {
  const unmapped = request.unmapped ?? 'refuse'
  if (unmapped !== 'refuse' && unmapped !== 'squash') {
    throw invalid('unmapped', String(unmapped), 'it needs one of refuse, squash')
  }
  const mapping = {
    uid: checkRanges(request.uid, 'uid-mapping'),
    gid: checkRanges(request.gid, 'gid-mapping'),
    unmapped,
  }
  if (unmapped === 'squash') {
    checkOverflow(mapping.uid, 'uid-mapping')
    checkOverflow(mapping.gid, 'gid-mapping')
  }
  return mapping
}

/** `0:100000:65536,70000:300000:10`: the ranges of one kind as people read them, and as parseIdRange reads each. */
export function rangesText(ranges: readonly IdRange[]): string {
  return ranges.map(rangeText).join(',')
}

/** A name of what a mapping does to a tree: 32 hex digits, the same for equal mappings in every store. */
export function mappingFingerprint({ uid, gid, unmapped }: IdMapping): string {
  const text = `uid ${rangesText(uid)} gid ${rangesText(gid)} ${unmapped}`
  return hash('sha256', text, 'hex').slice(0, 32)
}

/** The id of the host that an id of the container is; null for one that is in no range. */
export function hostIdOf(ranges: readonly IdRange[], containerId: number): number | null {
  let low = 0
  let high = ranges.length - 1
  while (low <= high) {
    const middle = (low + high) >> 1
    const range = ranges[middle]!
    const offset = containerId - range.containerId
    if (offset < 0) high = middle - 1
    else if (offset >= range.size) low = middle + 1
    else return range.hostId + offset
  }
  return null
}

function checkRanges(ranges: readonly IdRange[], option: string): IdRange[] {
  if (!Array.isArray(ranges) || ranges.length === 0) {
    throw new UsageError(
      'option-invalid',
      `Cannot map ids: --${option} has no range, and uids and gids are mapped together or not at all`,
      { facts: { option, value: '' } },
    )
  }
  if (ranges.length > MAX_RANGES) {
    throw invalid(option, `${ranges.length} ranges`, `the kernel takes ${MAX_RANGES} at most`)
  }
  for (const range of ranges) checkRange(range, option)
  const checked = ranges.map(({ containerId, hostId, size }) => ({ containerId, hostId, size }))
  refuseOverlap(checked, option, 'hostId', 'host')
  // Last, for this is the order that they stay in.
  refuseOverlap(checked, option, 'containerId', 'container')
  if (checked[0]!.containerId !== 0) {
    throw invalid(option, rangesText(checked), 'id 0 of the container needs to be in a range')
  }
  return checked
}

function checkRange(range: IdRange, option: string): void {
  const { containerId, hostId, size } = range ?? {}
  if (![containerId, hostId, size].every((each) => Number.isSafeInteger(each) && each >= 0)) {
    throw invalid(
      option,
      String(JSON.stringify(range)),
      'it needs whole numbers containerId, hostId and size, from 0',
    )
  }
  if (size === 0) throw invalid(option, rangeText(range), 'its size needs to be 1 at least')
  if (containerId + size - 1 > MAX_ID || hostId + size - 1 > MAX_ID) {
    throw invalid(option, rangeText(range), `it ends beyond ${MAX_ID}, the last id there is`)
  }
}

/** Sorts the ranges by one of their sides, and refuses two that have an id of it in common. */
function refuseOverlap(
  ranges: IdRange[],
  option: string,
  side: 'containerId' | 'hostId',
  name: string,
): void {
  ranges.sort((a, b) => a[side] - b[side])
  for (const [i, range] of ranges.entries()) {
    const before = ranges[i - 1]
    if (before === undefined || before[side] + before.size <= range[side]) continue
    throw invalid(option, rangeText(range), `its ids of the ${name} are also in ${rangeText(before)}`)
  }
}

function checkOverflow(ranges: readonly IdRange[], option: string): void {
  if (hostIdOf(ranges, OVERFLOW_ID) !== null) return
  throw invalid(
    option,
    rangesText(ranges),
    `ids without a range are to become ${OVERFLOW_ID}, so that one needs to be in a range`,
  )
}

function rangeText({ containerId, hostId, size }: IdRange): string {
  return `${containerId}:${hostId}:${size}`
}

function invalid(option: string, value: string, why: string): UsageError {
  return new UsageError('option-invalid', `Cannot use ${JSON.stringify(value)} for --${option}: ${why}`, {
    facts: { option, value },
  })
}
