/**
 * Id mappings of requests: which one counts, whether it can be had here, and what of a bundle follows from it.
 */
import { chmodSync, chownSync, statSync } from 'node:fs'
import { dirname } from 'node:path'
import { ImageError, UnsupportedError, UsageError } from '../errors.js'
import type { EventSink } from '../events.js'
import { checkMapping, hostIdOf, type IdMapping, type IdMappingRequest, rangesText } from '../ids/mapping.js'
import type { ResolvedUser } from '../image/users.js'

/**
 * The mapping that a request asks for; where it does not say, the store's.
 *
 * @param requested null for none, whatever the store has
 * @returns null for owners as images have them
 * @throws {UsageError} `option-invalid`
 * @throws {UnsupportedError} `mapping-unsupported` without root
 */
export function requestedMapping(
  requested: IdMappingRequest | null | undefined,
  ofStore: IdMapping | null,
): IdMapping | null {
  const mapping = requested === undefined ? ofStore : requested === null ? null : checkMapping(requested)
  const uid = process.geteuid?.() ?? 0
  if (mapping === null || uid === 0) return mapping
  throw new UnsupportedError(
    'mapping-unsupported',
    `Cannot map ids as uid ${uid}: only root may give files to others; newuidmap is not used`,
    { facts: { effectiveUid: uid } },
  )
}

/** Refuses what cannot be had together with mapped ids. @throws {UsageError} `option-invalid` */
export function refuseWithMapping(isAsked: boolean, option: string, why: string): void {
  if (!isAsked) return
  throw new UsageError('option-invalid', `Cannot use --${option} together with an id mapping: ${why}`, {
    facts: { option },
  })
}

/** @throws {ImageError} `id-unmapped` when the container could not have the user of the image, who is never another */
export function checkUserMapped({ uid, gid, additionalGids }: ResolvedUser, mapping: IdMapping): void {
  const ids = [
    { kind: 'uid', id: uid },
    ...[gid, ...additionalGids].map((id) => ({ kind: 'gid', id }) as const),
  ] as const
  for (const { kind, id } of ids) {
    const ranges = mapping[kind]
    if (hostIdOf(ranges, id) !== null) continue
    throw new ImageError(
      'id-unmapped',
      `Cannot run as the user of the image: ${kind} ${id} is in no range of the mapping ${rangesText(ranges)}`,
      { facts: { entry: null, kind, id, ranges: rangesText(ranges) } },
    )
  }
}

/** Who on the host is root of the container. */
export function containerRoot(mapping: IdMapping | null): { readonly uid: number; readonly gid: number } {
  if (mapping === null) return { uid: 0, gid: 0 }
  // A checked mapping has id 0.
  return { uid: hostIdOf(mapping.uid, 0) ?? 0, gid: hostIdOf(mapping.gid, 0) ?? 0 }
}

/**
 * Lets root of the container pass through a directory of groot's: a runtime goes to the rootfs from within the namespace.
 * By its group, so that nobody else may, and nothing can be listed or changed.
 */
export function letPass(directory: string, mapping: IdMapping): void {
  chownSync(directory, process.geteuid?.() ?? 0, containerRoot(mapping).gid)
  chmodSync(directory, 0o710)
}

/** Tells of a directory above the store that root of the container may not pass through, by its mode. */
export function warnOfClosedWay(store: string, mapping: IdMapping, events: EventSink): void {
  const { uid, gid } = containerRoot(mapping)
  for (let path = store; ; path = dirname(path)) {
    const stat = statSync(path)
    const bit = stat.uid === uid ? 0o100 : stat.gid === gid ? 0o010 : 0o001
    if ((stat.mode & bit) === 0 && uid !== 0) {
      return events({
        kind: 'warning',
        code: 'mapping-unreachable',
        message: `Containers with this id mapping cannot reach their root filesystems: "${path}" has mode ${(stat.mode & 0o7777).toString(8)}, and uid ${uid} may not pass through`,
        facts: { path, uid, gid },
      })
    }
    if (path === dirname(path)) return
  }
}
