/**
 * composefs-info measure-file: fs-verity digests of files.
 */
import { VerityHasher } from '../../composefs/verity.js'
import { throwIfAborted, toGrootError } from '../../errors.js'
import { hashBlocksTogether } from '../../linux/sha256-lanes.js'
import { measureVerity } from '../../linux/verity.js'
import type { ComposefsHash, ComposefsInput, MeasuredFile, MeasureRequest } from './api.js'
import { bytesOf, bytesOfOpened, nameOf, type OpenInput, openInput } from './input.js'

export async function measureFiles({
  files,
  hash = 'sha256',
  signal,
}: MeasureRequest): Promise<MeasuredFile[]> {
  hashBlocksTogether()
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
  const hasher = new VerityHasher(hash)
  if (typeof file !== 'string') {
    for await (const piece of bytesOf(file, signal)) hasher.update(piece)
    return { file: null, digest: hasher.digest(), hash, by: 'computation' }
  }
  // Opened once: what is written to a FIFO goes to whoever has it open, and only once.
  const opened = openInput(file, signal)
  const known = digestOfKernel(file, opened, hash)
  if (known !== null) return { file, digest: known, hash, by: 'kernel' }
  for await (const piece of bytesOfOpened(file, opened)) hasher.update(piece)
  return { file, digest: hasher.digest(), hash, by: 'computation' }
}

/** Null where the kernel holds the file to no digest, or to one of another kind; else it is closed. */
function digestOfKernel(path: string, { fd, isFile, stream }: OpenInput, hash: ComposefsHash): string | null {
  let known: string | null = null
  try {
    const measured = isFile ? measureVerity(fd) : null
    known = measured?.algorithm === hash ? measured.digest : null
  } catch (error) {
    stream.destroy()
    throw toGrootError(error, `Cannot measure ${nameOf(path)}`)
  }
  if (known !== null) stream.destroy()
  return known
}
