/**
 * Id mappings in records: plain JSON as the library's requests have them, and checked like those when they are read back.
 */
import { checkMapping, type IdMapping, type IdMappingRequest, type IdRange } from '../ids/mapping.js'
import * as field from './fields.js'

/** Null for a record without one, also of a version that knew none. */
export function parseRecordedMapping(value: unknown): IdMapping | null {
  return field.optional(value, (each) => {
    const raw = field.object(each, 'mapping')
    return checkMapping({
      uid: field.list(raw.uid, 'mapping.uid', parseRange),
      gid: field.list(raw.gid, 'mapping.gid', parseRange),
      // Looked at by checkMapping, as all of it.
      unmapped: field.string(raw.unmapped, 'mapping.unmapped') as NonNullable<IdMappingRequest['unmapped']>,
    })
  })
}

function parseRange(value: unknown, name: string): IdRange {
  const raw = field.object(value, name)
  return {
    containerId: field.integer(raw.containerId, `${name}.containerId`),
    hostId: field.integer(raw.hostId, `${name}.hostId`),
    size: field.integer(raw.size, `${name}.size`),
  }
}
