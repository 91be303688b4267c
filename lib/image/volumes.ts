/**
 * Volumes: the places of an image where its data goes (`Config.Volumes`), as directories beside the rootfs.
 *
 * Each volume is a directory of the bundle, `volumes/0`, `volumes/1` …, bound over its place by a mount of config.json.
 * It begins with what the image has there, lives as long as the bundle, and is writable also where the rootfs is not. A
 * tmpfs would lose the data when the container ends and keep it in memory until then; a bind of the rootfs onto itself
 * would have the runtime open a path on the host that the container can replace by a symlink to anywhere.
 *
 * Pure: this room says which directories and with what tree; making them is the work of create.
 */
import { byteString } from '../bytes.js'
import { ImageError } from '../errors.js'
import { findInode } from '../tree/find.js'
import { IMPLICIT_DIRECTORY, type Tree } from '../tree/model.js'
import { cleanPath } from './clean-path.js'
import type { ImageConfig } from './config.js'
import { quote } from './json.js'
import { defaultMounts } from './runtime-defaults.js'

export interface Volume {
  /** Absolute and clean path in the container. */
  readonly destination: string
  /** Path of its directory below the bundle: `volumes/0`. */
  readonly directory: string
}

/** Directory of the bundle that holds the volumes; there is none when the image has no volumes. */
export const VOLUMES_DIRECTORY = 'volumes'

const MAX_VOLUMES = 1024 // each is a mount of every container; images have a handful

/**
 * The volumes of an image, parents before what is below them, each place once.
 *
 * What lies at or below a filesystem that every container has of its own (`/proc`, `/dev`, `/sys` and theirs) is left out:
 * data there never reaches the rootfs, which is all that a volume promises, and a runtime refuses mounts in `/proc`.
 *
 * @throws {ImageError} `config-invalid` for the root, or a path that can be nowhere; `limit-exceeded` for more than 1024
 */
export function planVolumes(config: ImageConfig): Volume[] {
  const { volumes } = config.process
  if (volumes.length > MAX_VOLUMES) {
    throw new ImageError(
      'limit-exceeded',
      `Cannot use the image's ${volumes.length} volumes: at most ${MAX_VOLUMES} are made`,
      { facts: { document: 'config', field: '$.config.Volumes', items: volumes.length, limit: MAX_VOLUMES } },
    )
  }
  const ofKernel = defaultMounts(false).map((mount) => mount.destination)
  return [...new Set(volumes.map(cleanDestination))]
    .sort()
    .filter((path) => !ofKernel.some((place) => path === place || path.startsWith(`${place}/`)))
    .map((destination, index) => ({ destination, directory: `${VOLUMES_DIRECTORY}/${index}` }))
}

/**
 * What a volume begins with: the directory that the image has at its place, with all below; an empty one of root's when
 * there is none. Symlinks on the way are followed inside the tree.
 *
 * @throws {ImageError} `config-invalid` when the image has something else than a directory there
 */
export function volumeTree(tree: Tree, volume: Volume): Tree {
  const inode = findInode(tree, byteString(volume.destination))
  if (inode === null) return { root: { ...IMPLICIT_DIRECTORY, kind: 'directory', children: new Map() } }
  if (inode.kind === 'directory') return { root: inode }
  throw new ImageError(
    'config-invalid',
    `Cannot use ${quote(volume.destination)} as a volume: the image has a ${inode.kind} there, a volume is a directory`,
    {
      facts: {
        document: 'config',
        field: '$.config.Volumes',
        volume: volume.destination,
        found: inode.kind,
      },
    },
  )
}

function cleanDestination(path: string): string {
  const clean = cleanPath(path, '$.config.Volumes')
  if (clean !== '/' && !path.includes('\0')) return clean
  throw new ImageError(
    'config-invalid',
    `Cannot use ${quote(path)} as a volume: it needs to be a directory below the root`,
    { facts: { document: 'config', field: '$.config.Volumes', volume: path } },
  )
}
