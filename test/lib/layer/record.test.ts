import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, describe, expect, it } from 'vitest'
import type { VerityDigest } from '../../../lib/digest.js'
import { type RecordVisitor, RecordWriter, readRecord } from '../../../lib/layer/record.js'
import type { Content } from '../../../lib/tree/model.js'

const directory = mkdtempSync(join(tmpdir(), 'groot-record-'))
afterAll(() => rmSync(directory, { recursive: true }))
const path = join(directory, 'record')

type Segment = Uint8Array | Exclude<Content, { kind: 'empty' }>

function write(segments: readonly Segment[]): void {
  const fd = openSync(path, 'w')
  const writer = new RecordWriter(fd)
  for (const each of segments) {
    if (each instanceof Uint8Array) writer.raw(each)
    else writer.content(each)
  }
  writer.end()
  closeSync(fd)
}

/** What a reader sees, neighbouring raw bytes joined. */
function read(): Segment[] {
  const seen: Segment[] = []
  const visitor: RecordVisitor = {
    raw: (bytes) => {
      const last = seen.at(-1)
      if (last instanceof Uint8Array) seen[seen.length - 1] = Buffer.concat([last, bytes])
      else seen.push(Buffer.from(bytes))
    },
    content: (content) => seen.push(content),
  }
  readRecord(path, visitor)
  return seen
}

const objectContent = fc
  .uint8Array({ minLength: 32, maxLength: 32 })
  .map((bytes) => ({ kind: 'object' as const, digest: Buffer.from(bytes).toString('hex') as VerityDigest }))
const inlineContent = fc
  .uint8Array({ minLength: 1, maxLength: 64 })
  .map((bytes) => ({ kind: 'inline' as const, bytes }))

describe('layer records', () => {
  it('give back what was written', () => {
    const raw = fc.uint8Array({ minLength: 1, maxLength: 2000 })
    fc.assert(
      fc.property(fc.array(fc.oneof(raw, objectContent, inlineContent), { maxLength: 30 }), (segments) => {
        write(segments)
        expect(shown(read())).toEqual(shown(joined(segments)))
      }),
      { numRuns: 150 },
    )
  })

  it('span blocks of a mebibyte, whatever stands on the border', () => {
    for (let shift = 0; shift < 80; shift += 7) {
      const segments: Segment[] = [
        Buffer.alloc(1024 * 1024 - 60 + shift, 'x'),
        { kind: 'object', digest: 'ab'.repeat(32) as VerityDigest },
      ]
      for (let i = 0; i < 5; i++)
        segments.push({ kind: 'inline', bytes: Buffer.from(`inline ${i}`) }, Buffer.alloc(300_000, i))
      write(segments)
      expect(shown(read())).toEqual(shown(joined(segments)))
    }
  })

  it('are refused when any one byte is another', () => {
    write([
      Buffer.from('headers '.repeat(100)),
      { kind: 'inline', bytes: Buffer.from('tiny') },
      Buffer.alloc(512),
    ])
    const whole = readFileSync(path)
    for (let at = 0; at < whole.length; at++) {
      const damaged = Buffer.from(whole)
      damaged[at]! ^= 0x10
      writeFileSync(path, damaged)
      expect(read, `byte ${at}`).toThrow(expect.objectContaining({ code: 'layer-damaged' }))
    }
  })

  it('are refused when cut anywhere, and when something is behind them', () => {
    write([Buffer.from('headers '.repeat(100)), { kind: 'object', digest: '0f'.repeat(32) as VerityDigest }])
    const whole = readFileSync(path)
    for (let length = 0; length < whole.length; length++) {
      writeFileSync(path, whole.subarray(0, length))
      expect(read, `${length} bytes`).toThrow(expect.objectContaining({ code: 'layer-damaged' }))
    }
    writeFileSync(path, Buffer.concat([whole, Buffer.from('x')]))
    expect(read).toThrow(expect.objectContaining({ code: 'layer-damaged' }))
  })

  it('never crash a reader on arbitrary bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        writeFileSync(path, Buffer.concat([Buffer.from('grootlr1'), bytes]))
        expect(read).toThrow(expect.objectContaining({ code: 'layer-damaged' }))
      }),
      { numRuns: 300 },
    )
  })
})

function joined(segments: readonly Segment[]): Segment[] {
  const out: Segment[] = []
  for (const each of segments) {
    const last = out.at(-1)
    if (each instanceof Uint8Array && last instanceof Uint8Array)
      out[out.length - 1] = Buffer.concat([last, each])
    else out.push(each)
  }
  return out
}

function shown(segments: readonly Segment[]): string[] {
  return segments.map((each) => {
    if (each instanceof Uint8Array) return `raw ${Buffer.from(each).toString('base64')}`
    return each.kind === 'object' ? each.digest : `inline ${Buffer.from(each.bytes).toString('base64')}`
  })
}
