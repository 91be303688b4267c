/**
 * mkcomposefs: an image of a directory, or of what a dump says. What only one of these needs is loaded for it alone: for most
 * directories, loading is a good part of the work.
 */
import { planComposefs } from '../../composefs/erofs-write.js'
import type { ComposefsNode } from '../../composefs/node.js'
import { composefsFromTree } from '../../composefs/tree.js'
import { VerityHasher } from '../../composefs/verity.js'
import { throwIfAborted } from '../../errors.js'
import { runInSlices } from '../../linux/slices.js'
import type { MadeImage, MakeComposefs, MakeFromDirectory, MakeFromDump } from './api.js'
import type { DigestStore } from './digest-store.js'
import type { Output } from './output.js'
import { unlessAborted } from './unless-aborted.js'

export async function makeImage(request: MakeComposefs): Promise<MadeImage> {
  const { image, minVersion, maxVersion, hash = 'sha256', signal } = request
  const target = typeof image === 'string' ? await (await import('./output.js')).findTarget(image) : null
  const { root, objects } =
    'dump' in request ? { root: await nodesOfDump(request), objects: null } : await nodesOfDirectory(request)
  throwIfAborted(signal)
  const planned = planComposefs(root, {
    ...(minVersion === undefined ? {} : { minVersion }),
    ...(maxVersion === undefined ? {} : { maxVersion }),
  })
  const hasher = new VerityHasher(hash)
  if (target !== null) {
    const { openOutput } = await import('./output.js')
    await writeTo(await openOutput(target, signal), hashed(planned.lentChunks(), hasher, signal))
  } else if (typeof image === 'object') {
    for (const piece of hashed(planned.chunks(), hasher, signal))
      await unlessAborted(image.write(piece), signal)
  } else {
    for (const _ of hashed(planned.lentChunks(), hasher, signal));
  }
  const { version, inodes, byteLength } = planned
  return { digest: hasher.digest(), hash, version, inodes, bytes: byteLength, objects }
}

async function nodesOfDump({ dump, strict, hash, signal }: MakeFromDump): Promise<ComposefsNode> {
  const { DumpParser } = await import('../../composefs/dump-parse.js')
  const { bytesOf } = await import('./input.js')
  const parser = new DumpParser({
    ...(strict === undefined ? {} : { strict }),
    ...(hash === undefined ? {} : { algorithm: hash }),
  })
  for await (const piece of bytesOf(dump, signal)) {
    throwIfAborted(signal)
    parser.push(piece)
  }
  return parser.end()
}

interface Scanned {
  readonly root: ComposefsNode
  readonly objects: number | null
}

async function nodesOfDirectory(request: MakeFromDirectory): Promise<Scanned> {
  if (request.digestStore === undefined) return { root: (await scanned(request, null)).root, objects: null }
  const { checkRoot } = await import('./scan.js')
  // Before a digest store is made.
  checkRoot(request.directory)
  const { DigestStore } = await import('./digest-store.js')
  using store = DigestStore.open(request.digestStore, request.directory)
  const { root, staged } = await scanned(request, store.place)
  await runInSlices(store.publish(staged), request.signal)
  return { root, objects: staged.length }
}

async function scanned(
  { directory, hash = 'sha256', xattrs = 'all', threads, signal, ...options }: MakeFromDirectory,
  objects: DigestStore['place'] | null,
): Promise<{ readonly root: ComposefsNode; readonly staged: readonly string[] }> {
  const { scanToTree } = await import('./scan.js')
  const { tree, staged } = await scanToTree(directory, {
    algorithm: hash,
    xattrs,
    objects,
    signal,
    ...(threads === undefined ? {} : { threads }),
  })
  const { useEpoch = false, skipDevices = false, hardLinks = 'keep' } = options
  return { root: composefsFromTree(tree, { useEpoch, skipDevices, hardLinks }), staged }
}

async function writeTo(output: Output, pieces: Iterable<Uint8Array>): Promise<void> {
  try {
    for (const piece of pieces) await output.write(piece)
    await output.commit()
  } finally {
    await output.discard()
  }
}

function* hashed(
  pieces: Iterable<Uint8Array>,
  hasher: VerityHasher<'sha256' | 'sha512'>,
  signal: AbortSignal | undefined,
): Generator<Uint8Array, void, undefined> {
  for (const piece of pieces) {
    throwIfAborted(signal)
    hasher.update(piece)
    yield piece
  }
}
