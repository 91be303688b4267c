/**
 * Text that is safe to show: what comes from images, registries and arguments never reaches a terminal raw.
 */

// C0, DEL and C1 steer a terminal; line separators and direction marks forge lines of a log.
const UNSAFE = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g

/** One line of text: control characters and direction marks become `\xHH` and `\uHHHH`. */
export function visible(text: string): string {
  return text.replace(UNSAFE, (char) => {
    const code = char.charCodeAt(0)
    return code < 256 ? `\\x${code.toString(16).padStart(2, '0')}` : jsonEscape(char)
  })
}

/** In quotes, shortened where it is very long. */
export function quoted(text: string): string {
  return `"${visible(text.length > 150 ? `${text.slice(0, 150)}…` : text)}"`
}

/** One line of JSON in which everything unsafe is escaped, so that it may be shown and still reads back the same. */
export function jsonLine(value: unknown): string {
  return JSON.stringify(value).replace(UNSAFE, jsonEscape)
}

const PIECE_CHARS = 64 * 1024

/** Short texts put together, so that they are written in pieces of some length. */
export function* inPieces(texts: Iterable<string>): Generator<string, void, undefined> {
  let piece = ''
  for (const text of texts) {
    piece += text
    if (piece.length < PIECE_CHARS) continue
    yield piece
    piece = ''
  }
  yield piece
}

function jsonEscape(char: string): string {
  return `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`
}

/** `1.5 MiB` */
export function humanBytes(bytes: number): string {
  const units = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB']
  let value = bytes
  let unit = 0
  for (; value >= 1024 && unit < units.length - 1; unit++) value /= 1024
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`
}

/** `1 layer`, `2 layers` */
export function counted(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`
}
