/**
 * Images in an OCI layout that was packed into a tar, plain or compressed.
 *
 * The layout is read where it is, as oci-layout.ts reads a directory; this room only finds the files.
 */
import { resolve } from 'node:path'
import { openArchive } from './archive.js'
import { checkFile } from './local-file.js'
import { type LayoutFiles, type LayoutRequest, layoutSource } from './oci-layout.js'
import type { ImageSource, SourceContext } from './source.js'

/**
 * Opens an image in an archive of a layout. The archive is listed, and when it is compressed written out, by `resolve`.
 *
 * @throws {NotFoundError} `file-missing`
 * @throws {UsageError} `reference-invalid` when the path is no regular file
 */
export async function ociArchiveSource(request: LayoutRequest, context: SourceContext): Promise<ImageSource> {
  const path = resolve(request.path)
  await checkFile(path)
  return layoutSource(request, (signal) => archiveFiles(path, context, signal))
}

async function archiveFiles(path: string, context: SourceContext, signal: AbortSignal): Promise<LayoutFiles> {
  const archive = await openArchive(path, context, signal)
  return {
    kind: 'oci-archive',
    path,
    find: async (name) => archive.find(name),
    read: (name, cap) => archive.read(name, cap),
    [Symbol.asyncDispose]: () => archive[Symbol.asyncDispose](),
  }
}
