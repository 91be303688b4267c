/**
 * A directory as an image of one layer, named by what is in it.
 *
 * The tar of the directory is made twice: once to learn its digest, once for the layer; both have to be the same bytes.
 * What is in the tar is the business of directory-tar.ts.
 */
import { createHash, type Hash } from 'node:crypto'
import { resolve } from 'node:path'
import { type ByteString, printable } from '../bytes.js'
import { type DiffId, encodedOf } from '../digest.js'
import { IntegrityError } from '../errors.js'
import type { EventSink } from '../events.js'
import { OCI_LAYER } from '../image/media-types.js'
import { directoryTar } from './directory-tar.js'
import { checkDirectory, shown } from './local-file.js'
import type {
  BlobContent,
  ImageLayer,
  ImageSource,
  ResolvedImage,
  ResolveOptions,
  SourceContext,
} from './source.js'
import { imageOfOneLayer } from './synthetic-image.js'

/**
 * Opens a directory, whatever is in it: that it is no OCI layout instead is for the caller to know.
 *
 * @param request.path relative to the working directory
 * @throws {NotFoundError} `file-missing`
 * @throws {UsageError} `reference-invalid` when the path is no directory
 */
export async function directorySource(
  request: { readonly path: string },
  context: SourceContext,
): Promise<ImageSource> {
  const path = resolve(request.path)
  checkDirectory(path)
  return {
    resolve: (options) => resolveDirectory(path, options, context.events),
    openBlob: async (layer, signal): Promise<BlobContent> => {
      return { kind: 'stream', chunks: sameTar(path, layer, signal) }
    },
    async [Symbol.asyncDispose]() {},
  }
}

async function resolveDirectory(
  path: string,
  { platform, signal }: ResolveOptions,
  events: EventSink,
): Promise<ResolvedImage> {
  const sockets = new Sockets()
  const hash = createHash('sha256')
  let size = 0
  for await (const chunk of directoryTar(path, signal, (socket) => sockets.add(socket))) {
    hash.update(chunk)
    size += chunk.length
  }
  sockets.report(path, events)
  const diffId = diffIdOf(hash)
  return imageOfOneLayer(path, platform, diffId, size, { mediaType: OCI_LAYER, digest: diffId, size })
}

/** The tar again. @throws {IntegrityError} `source-changed` when it is another than it was */
async function* sameTar(
  path: string,
  { diffId, descriptor }: ImageLayer,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const hash = createHash('sha256')
  let size = 0
  for await (const chunk of directoryTar(path, signal, () => {})) {
    hash.update(chunk)
    size += chunk.length
    if (size > descriptor.size) throw changed(path, diffId)
    yield chunk
  }
  if (diffIdOf(hash) !== diffId) throw changed(path, diffId)
}

function diffIdOf(hash: Hash): DiffId {
  return `sha256:${hash.digest('hex')}` as DiffId
}

const MAX_SHOWN = 8

/** The sockets that were met: a tar has none, and nobody could connect to a copy of one. */
class Sockets {
  #count = 0
  readonly #first: string[] = []

  add(path: ByteString): void {
    this.#count++
    if (this.#first.length < MAX_SHOWN) this.#first.push(printable(path))
  }

  report(directory: string, events: EventSink): void {
    if (this.#count === 0) return
    events({
      kind: 'warning',
      code: 'socket-left-out',
      message: `Directory ${shown(directory)} holds sockets (${this.#count}), which are not taken over`,
      facts: { directory, count: this.#count, first: this.#first },
    })
  }
}

function changed(path: string, diffId: DiffId): IntegrityError {
  return new IntegrityError(
    'source-changed',
    `Cannot read directory ${shown(path)}: it was changed meanwhile`,
    {
      facts: { path, expected: encodedOf(diffId) },
      temporary: true,
    },
  )
}
