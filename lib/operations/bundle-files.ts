/**
 * The files that runc and people read in a bundle: image.json, the image's config as verified, and config.json, the
 * runtime-spec document made from it. Neither is ever read back.
 */
import { existsSync } from 'node:fs'
import type { Mount } from '../driver/contract.js'
import type { IdMapping } from '../ids/mapping.js'
import { runtimeSpec } from '../image/runtime-spec.js'
import { type ResolvedUser, ROOT_USER, resolveUser } from '../image/users.js'
import type { ResolvedImage } from '../sources/source.js'
import type { BaseRecord } from '../store/bases.js'
import type { BundleId } from '../store/bundle-id.js'
import type { DurableBatch } from '../store/durable.js'
import type { ObjectReader } from '../store/objects.js'
import { readAccountFile } from './bases.js'

/** The image's user, by the rootfs's own passwd and group files. @throws {ImageError} `user-unknown` */
export function imageUser(
  image: ResolvedImage,
  { accounts }: BaseRecord,
  objects: ObjectReader,
): ResolvedUser {
  const { user } = image.config.process
  // Nobody needs to be looked up, and most images are like this.
  if (user === undefined || user === '') return ROOT_USER
  const passwd = readAccountFile(accounts.passwd, 'passwd', objects)
  return resolveUser(user, passwd, readAccountFile(accounts.group, 'group', objects))
}

export interface BundleFiles {
  readonly id: BundleId
  readonly directory: string
  readonly image: ResolvedImage
  readonly user: ResolvedUser
  readonly readOnly: boolean
  readonly mounts: readonly Mount[]
  readonly mapping: IdMapping | null
}

/** Writes both files; they are durable when the batch is synced. */
export function writeBundleFiles(batch: DurableBatch, files: BundleFiles): void {
  const { image, directory } = files
  const uid = process.geteuid?.() ?? 0
  const spec = runtimeSpec(image.config, {
    rootfsPath: 'rootfs',
    readOnly: files.readOnly,
    user: files.user,
    bundleId: files.id,
    rootless: uid === 0 ? null : { uid, gid: process.getegid?.() ?? uid },
    mounts: files.mounts,
    mapping: files.mapping,
    hasUnifiedCgroups: existsSync('/sys/fs/cgroup/cgroup.controllers'),
  })
  batch.write(`${directory}/image.json`, image.configBytes, 0o644)
  batch.write(`${directory}/config.json`, `${JSON.stringify(spec, null, 2)}\n`, 0o644)
  batch.directory(directory)
}
