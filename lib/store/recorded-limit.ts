/**
 * Disk limits in records.
 */
import * as field from './fields.js'

export interface RecordedLimit {
  /** As it was asked for. */
  readonly bytes: number
  /** Whether the image's bytes do not count. */
  readonly excludesImage: boolean
  /** Bytes of the image's regular files, counted or not. */
  readonly imageBytes: number
  readonly backend: 'native' | 'loop'
}

/** Null for none; records of versions that knew no limits have none. */
export function parseRecordedLimit(value: unknown): RecordedLimit | null {
  return field.optional(value, (given) => {
    const raw = field.object(given, 'limit')
    const { backend } = raw
    if (backend !== 'native' && backend !== 'loop') throw new Error('limit.backend should be native or loop')
    return {
      bytes: field.integer(raw.bytes, 'limit.bytes'),
      excludesImage: field.boolean(raw.excludesImage, 'limit.excludesImage'),
      imageBytes: field.integer(raw.imageBytes, 'limit.imageBytes'),
      backend,
    }
  })
}
