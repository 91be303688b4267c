/**
 * composefs-info measure-file: fs-verity digests of files.
 */
import { VerityHasher } from '../../composefs/verity.js'
import { throwIfAborted, toGrootError } from '../../errors.js'
import { measureVerity } from '../../linux/verity.js'
import type { ComposefsHash, ComposefsInput, MeasuredFile, MeasureRequest } from './api.js'
import { bytesOf, nameOf, openInput, pathOf } from './input.js'

export async function measureFiles({
  files,
  hash = 'sha256',
  signal,
}: MeasureRequest): Promise<MeasuredFile[]> {
  const measured: MeasuredFile[] = []
  for (const file of files) {
    throwIfAborted(signal)
    measured.push(await measure(file, hash, signal))
  }
  return measured
}

async function measure(
  file: ComposefsInput,
  hash: ComposefsHash,
  signal: AbortSignal | undefined,
): Promise<MeasuredFile> {
  const known = typeof file === 'string' ? digestOfKernel(file, hash, signal) : null
  if (known !== null) return { file: pathOf(file), digest: known, hash, by: 'kernel' }
  const hasher = new VerityHasher(hash)
  for await (const piece of bytesOf(file, signal)) hasher.update(piece)
  return { file: pathOf(file), digest: hasher.digest(), hash, by: 'computation' }
}

/** Null where the kernel holds the file to no digest, or to one of another kind. */
function digestOfKernel(path: string, hash: ComposefsHash, signal: AbortSignal | undefined): string | null {
  const { fd, isFile, stream } = openInput(path, signal)
  try {
    const measured = isFile ? measureVerity(fd) : null
    return measured?.algorithm === hash ? measured.digest : null
  } catch (error) {
    throw toGrootError(error, `Cannot measure ${nameOf(path)}`)
  } finally {
    stream.destroy()
  }
}
