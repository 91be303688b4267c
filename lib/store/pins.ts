/**
 * Pins: images that clean never takes away, whoever uses them.
 *
 * A pin is of a name, or of a digest: what the name means now, and what it meant when it was pinned. The file name is made
 * from it, so a damaged pin still holds what it names.
 */
import { hash } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import { resolve } from 'node:path'
import { type DiffId, type Digest, isDigest } from '../digest.js'
import { parseReference, printReference } from '../image/reference.js'
import { namesIn } from '../linux/names.js'
import type { CachedImage } from './cached-images.js'
import * as field from './fields.js'
import type { StoreLayout } from './layout.js'
import { readRecord, removeRecord, writeRecord } from './records.js'

export interface Pin {
  readonly format: 1
  /** A reference in full form, or a digest. */
  readonly image: string
  readonly pinnedAt: string
  /** What the name meant when it was pinned: an image for each platform. */
  readonly images: readonly PinnedImage[]
}

export interface PinnedImage {
  /** Manifest and config. */
  readonly documents: readonly Digest[]
  readonly layers: readonly DiffId[]
}

/**
 * What a text can mean as the name of an image in the store: a digest, or references in full form.
 *
 * @throws {UsageError} `reference-invalid`, `reference-ambiguous`
 */
export function namesOfImage(text: string): readonly string[] {
  if (isDigest(text)) return [text]
  return parseReference(text).map((reference) =>
    printReference(
      reference.kind === 'registry' ? reference : { ...reference, path: resolve(reference.path) },
    ),
  )
}

/** Whether one of these names means the image. */
export function isNamed(image: CachedImage, names: readonly string[]): boolean {
  const own = namesFor(image)
  return names.some((name) => own.includes(name))
}

/** What an image can be pinned by: its digest, and its references. */
export function namesFor(image: CachedImage): readonly string[] {
  return [image.digest, ...image.refs.map(({ reference }) => reference)]
}

/** File name of the pin of a name. */
export function pinFile(name: string): string {
  return `${hash('sha256', name, 'hex')}.json`
}

export function writePin(layout: StoreLayout, pin: Pin): void {
  mkdirSync(layout.pins, { recursive: true, mode: 0o700 })
  writeRecord(`${layout.pins}/${pinFile(pin.image)}`, pin)
}

/** @returns whether there was one */
export function removePin(layout: StoreLayout, name: string): boolean {
  return removeRecord(`${layout.pins}/${pinFile(name)}`)
}

/**
 * A pin by its file name; null when there is none.
 *
 * @throws {StoreError} `record-damaged`
 */
export function readPin(layout: StoreLayout, file: string): Pin | null {
  return readRecord(`${layout.pins}/${file}`, parsePin)
}

/** File names of all pins. */
export function listPins(layout: StoreLayout): string[] {
  return namesIn(layout.pins).filter(isPinFile)
}

export function isPinFile(name: string): boolean {
  return /^[0-9a-f]{64}\.json$/.test(name)
}

function parsePin(value: unknown): Pin {
  const raw = field.object(value, 'pin')
  return {
    format: field.format(raw),
    image: field.string(raw.image, 'image'),
    pinnedAt: field.string(raw.pinnedAt, 'pinnedAt'),
    images: field.list(raw.images, 'images', parsePinned),
  }
}

function parsePinned(value: unknown, name: string): PinnedImage {
  const raw = field.object(value, name)
  return {
    documents: field.list(raw.documents, `${name}.documents`, field.digest),
    layers: field.list(raw.layers, `${name}.layers`, (each, at) => field.digest(each, at) as DiffId),
  }
}
