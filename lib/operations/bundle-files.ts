/**
 * The files that runc and people read in a bundle: image.json, the image's config as verified, and config.json, the
 * runtime-spec document made from it. Neither is ever read back.
 */
import { closeSync, existsSync, fsyncSync, openSync, readFileSync, writeSync } from 'node:fs'
import { byteString } from '../bytes.js'
import type { Mount } from '../driver/contract.js'
import { ImageError } from '../errors.js'
import { runtimeSpec } from '../image/runtime-spec.js'
import { type ResolvedUser, resolveUser } from '../image/users.js'
import { syncDirectory } from '../linux/sync.js'
import type { ResolvedImage } from '../sources/source.js'
import type { BundleId } from '../store/bundle-id.js'
import type { ObjectReader } from '../store/objects.js'
import { findInode } from '../tree/find.js'
import type { Tree } from '../tree/model.js'

const MAX_ACCOUNT_FILE_BYTES = 1024 * 1024

/** The image's user, by the rootfs's own passwd and group files. @throws {ImageError} `user-unknown` */
export function imageUser(image: ResolvedImage, tree: Tree, objects: ObjectReader): ResolvedUser {
  const { user } = image.config.process
  return resolveUser(user, accountFile(tree, objects, 'passwd'), accountFile(tree, objects, 'group'))
}

export interface BundleFiles {
  readonly id: BundleId
  readonly directory: string
  readonly image: ResolvedImage
  readonly user: ResolvedUser
  readonly readOnly: boolean
  readonly mounts: readonly Mount[]
}

/** Writes and syncs both files, and the directory. */
export function writeBundleFiles(files: BundleFiles): void {
  const { image, directory } = files
  const uid = process.geteuid?.() ?? 0
  const spec = runtimeSpec(image.config, {
    rootfsPath: 'rootfs',
    readOnly: files.readOnly,
    user: files.user,
    bundleId: files.id,
    rootless: uid === 0 ? null : { uid, gid: process.getegid?.() ?? uid },
    mounts: files.mounts,
    hasUnifiedCgroups: existsSync('/sys/fs/cgroup/cgroup.controllers'),
  })
  writeSynced(`${directory}/image.json`, image.configBytes)
  writeSynced(`${directory}/config.json`, Buffer.from(`${JSON.stringify(spec, null, 2)}\n`))
  syncDirectory(directory)
}

function accountFile(tree: Tree, objects: ObjectReader, name: 'passwd' | 'group'): Uint8Array | null {
  const found = findInode(tree, byteString(`/etc/${name}`))
  if (found?.kind !== 'file') return null
  if (found.size > MAX_ACCOUNT_FILE_BYTES) {
    throw new ImageError(
      'limit-exceeded',
      `Cannot read /etc/${name} of the image: it has ${found.size} bytes, at most ${MAX_ACCOUNT_FILE_BYTES} are read`,
      {
        facts: { path: `/etc/${name}`, bytes: found.size, limit: MAX_ACCOUNT_FILE_BYTES },
      },
    )
  }
  switch (found.content.kind) {
    case 'empty':
      return new Uint8Array(0)
    case 'inline':
      return found.content.bytes
    case 'object':
      return readFileSync(objects.path(found.content.digest))
    default:
      return found.content satisfies never
  }
}

function writeSynced(path: string, bytes: Uint8Array): void {
  const fd = openSync(path, 'wx', 0o644)
  try {
    for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at)
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}
