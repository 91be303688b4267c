/**
 * Finding out what a place can do, by doing it: a small base is made and mounted, written to, read and taken away.
 * Numbers of versions are not asked, for kernels are patched and configured.
 */
import {
  appendFileSync,
  chmodSync,
  closeSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  writeFileSync,
} from 'node:fs'
import {
  type BaseId,
  type BundleId,
  type Directory,
  enableVerity,
  isErrno,
  LimitedSpaces,
  makeProbeDirectory,
  type ObjectReader,
  objectName,
  type Probe,
  type ProbePlace,
  type RegularFile,
  type Tree,
  TreeImage,
  verityDigest,
} from '../../lib/driver/kit.js'
import { Bases } from './bases.js'
import type { BaseKind, OverlayOptions } from './options.js'
import { RootfsRoom } from './rootfs.js'

/** What works in a place. */
export interface Findings {
  readonly base: BaseKind
  readonly notes: readonly string[]
}

export type Found = { readonly findings: Findings } | { readonly refused: Exclude<Probe, { usable: true }> }

const CONTENT = Buffer.alloc(4096, 'groot ')

/** Tries what the options allow, the better first. Leaves nothing behind. */
export async function findOut(
  { directory, effectiveUid }: ProbePlace,
  options: OverlayOptions,
): Promise<Found> {
  if (effectiveUid !== 0) {
    return refused('the right to mount', `uid ${effectiveUid}`, 'root')
  }
  const notes: string[] = []
  for (const base of options.base === 'auto' ? (['composefs', 'directory'] as const) : [options.base]) {
    const failure = await attempt(directory, base, options)
    if (failure === null) {
      notes.unshift(MODES[base])
      return {
        findings: { base, notes: base === 'composefs' ? [...notes, verityNote(directory, options)] : notes },
      }
    }
    if (failure.feature === 'fs-verity' || base === 'directory' || options.base !== 'auto')
      return { refused: { usable: false, ...failure } }
    notes.push(`composefs images cannot be mounted here: ${failure.found}`)
  }
  return refused('overlayfs', 'nothing that can be mounted', 'overlayfs')
}

const MODES: Readonly<Record<BaseKind, string>> = {
  composefs: 'every image is one composefs image, and files are shared by all images',
  directory:
    'every image is a directory under overlayfs, and files are shared by the bundles of an image only',
}

function refused(feature: string, found: string, needed: string): Found {
  return { refused: { usable: false, feature, found, needed } }
}

type Failure = Omit<Exclude<Probe, { usable: true }>, 'usable'>

/** @returns null when it works */
async function attempt(place: string, kind: BaseKind, { verity }: OverlayOptions): Promise<Failure | null> {
  using probe = makeProbeDirectory(place)
  const directory = probe.path
  const objects: ObjectReader = {
    directory: `${directory}/objects`,
    path: (digest) => `${directory}/objects/${objectName(digest)}`,
  }
  const bases = new Bases(`${directory}/bases`)
  await using room = new RootfsRoom(bases, objects, verity, new LimitedSpaces(directory))
  const at = `${directory}/bundle/rootfs`
  try {
    const tree = sampleTree(objects)
    mkdirSync(`${directory}/bases`)
    mkdirSync(`${directory}/bundle`)
    const { signal } = new AbortController()
    const id = 'sha256-probe' as BaseId
    const image = new TreeImage(tree)
    await bases.prepare(
      { id, tree, image, objects, areContentsSeen: false, near: null },
      kind,
      verity,
      signal,
    )
    await room.create({
      id: 'probe' as BundleId,
      at,
      base: id,
      digest: image.digest(),
      tree: async () => tree,
      objects,
      readOnly: false,
      verity: null,
      limit: null,
      noSync: true,
      ignoreOwnership: false,
      mountPoints: [],
      withoutMount: false,
      syncLater: () => {},
      events: () => {},
      signal,
    })
    return use(at)
  } catch (error) {
    if ((error as { code?: unknown }).code === 'verity-unsupported') {
      return { feature: 'fs-verity', found: 'not in this kernel or filesystem', needed: 'fs-verity' }
    }
    const found = error instanceof Error ? error.message : String(error)
    return {
      feature: kind === 'composefs' ? 'mounting a composefs image' : 'overlayfs',
      found,
      needed: 'a mount that works',
    }
  } finally {
    room.unmount(at)
  }
}

/** What containers do: copy up, write, rename a directory of the image. */
function use(at: string): Failure | null {
  const needed = 'a root filesystem that can be read and written'
  if (!readFileSync(`${at}/directory/file`).equals(CONTENT)) {
    return { feature: 'overlayfs', found: 'a file with another content', needed }
  }
  appendFileSync(`${at}/directory/file`, 'more')
  renameSync(`${at}/directory`, `${at}/renamed`)
  const found = readFileSync(`${at}/renamed/file`, 'latin1')
  if (found === `${CONTENT.toString('latin1')}more`) return null
  return { feature: 'overlayfs', found: 'a file that lost what was written', needed }
}

function sampleTree(objects: ObjectReader): Tree {
  const digest = verityDigest(CONTENT)
  mkdirSync(`${objects.directory}/${digest.slice(0, 2)}`, { recursive: true })
  writeFileSync(objects.path(digest), CONTENT)
  chmodSync(objects.path(digest), 0o444)
  const metadata = { uid: 0, gid: 0, mtimeSeconds: 0n, mtimeNanoseconds: 0, xattrs: new Map() }
  const file: RegularFile = {
    ...metadata,
    kind: 'file',
    mode: 0o644,
    size: CONTENT.length,
    content: { kind: 'object', digest },
  }
  const below = (name: string, inode: Directory | RegularFile): Directory => ({
    ...metadata,
    kind: 'directory',
    mode: 0o755,
    children: new Map([[name as never, inode]]),
  })
  return { root: below('directory', below('file', file)) }
}

function verityNote(directory: string, { verity }: OverlayOptions): string {
  if (verity === 'off') return 'fs-verity: off, as asked'
  return hasVerity(directory)
    ? 'fs-verity: on, the kernel checks what is read'
    : 'fs-verity: not in this kernel or filesystem; groot check verifies contents'
}

function hasVerity(place: string): boolean {
  using probe = makeProbeDirectory(place)
  try {
    const path = `${probe.path}/file`
    writeFileSync(path, CONTENT)
    const fd = openSync(path, 'r')
    try {
      return enableVerity(fd)
    } finally {
      closeSync(fd)
    }
  } catch (error) {
    if (isErrno(error)) return false
    throw error
  }
}
