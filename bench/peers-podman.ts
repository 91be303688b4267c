/**
 * podman with the storage drivers that unpack an image once: overlay, and overlay over composefs images where it has them.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import {
  hasProgram,
  type Places,
  type Root,
  runNow,
  script,
  shortVersion,
  type Tool,
  versionOf,
  wipe,
} from './peers-tools.js'

interface Kind {
  readonly suffix: string
  readonly about: string
  readonly storageOptions: string
  readonly onlyCopies?: boolean
}

const OVERLAY: Kind = {
  suffix: '',
  about: 'unpacked into a directory for each layer; blobs verified',
  storageOptions: '',
}

const COMPOSEFS: readonly Kind[] = [
  {
    suffix: ' composefs',
    about: 'converted into objects and an EROFS image for each layer; blobs verified',
    storageOptions: composefs(false),
  },
  {
    suffix: ' composefs, links',
    about: 'the same, with hard links between equal files of all layers',
    storageOptions: composefs(true),
    onlyCopies: true,
  },
]

function composefs(hasLinks: boolean): string {
  return `[storage.options]
pull_options = {enable_partial_images = "true", convert_images = "true", use_hard_links = "${hasLinks}"}
[storage.options.overlay]
use_composefs = "true"
`
}

/** Those that a root filesystem has; composefs from version 5 on. */
export function podmanTools(places: Places, root: Root): Tool[] {
  const version = versionOf(root, 'podman')
  if (version === null) return []
  const hasComposefs = Number.parseInt(shortVersion(version), 10) >= 5 && hasProgram(root, 'mkcomposefs')
  return [OVERLAY, ...(hasComposefs ? COMPOSEFS : [])].map((kind) => podmanTool(places, root, version, kind))
}

function podmanTool({ place, run, registry }: Places, root: Root, version: string, kind: Kind): Tool {
  const name = `podman ${shortVersion(version)}${kind.suffix}`
  const directory = name.replace(/[ ,]+/g, '-')
  const storage = `${place}/${directory}`
  const graph = `${storage}/graph`
  const config = `${place}/config/${directory}`
  mkdirSync(config, { recursive: true })
  // The path of the run root may have 50 characters. Its directory for temporary files tells podman, when it is empty, to begin anew.
  writeFileSync(
    `${config}/storage.conf`,
    `[storage]\ndriver = "overlay"\ngraphroot = "${graph}"\nrunroot = "${run}/${directory}"\n${kind.storageOptions}`,
  )
  writeFileSync(`${config}/registries.conf`, `[[registry]]\nlocation = "${registry}"\ninsecure = true\n`)
  writeFileSync(
    `${config}/containers.conf`,
    `[engine]\nevents_logger = "none"\ncgroup_manager = "cgroupfs"\ntmp_dir = "${run}/${directory}/tmp"\n`,
  )
  const env = {
    CONTAINERS_STORAGE_CONF: `${config}/storage.conf`,
    CONTAINERS_REGISTRIES_CONF: `${config}/registries.conf`,
    CONTAINERS_CONF: `${config}/containers.conf`,
    PODMAN_IGNORE_CGROUPSV1_WARNING: '1',
    TMPDIR: `${storage}/tmp`,
  }
  const command = (text: string) => script(root, text, env)
  const create = (pull: string, reference: string, id: string) =>
    `podman create --quiet --pull=${pull} --network=none --name ${id} ${reference} true && podman mount ${id}`
  return {
    name,
    isGroot: false,
    version,
    about: kind.about,
    ...(kind.onlyCopies === true ? { onlyCopies: true } : {}),
    keepsImages: true,
    storage,
    blobs: null,
    async prepare() {
      mkdirSync(env.TMPDIR, { recursive: true })
      // Its database and directories.
      runNow(command('podman images --quiet'))
    },
    async clear() {
      wipe(root, storage)
      wipe(null, `${root ?? ''}${run}/${directory}`)
    },
    command,
    create: (image, id) => create('missing', image.reference, id),
    createAgain: (image, id) => create('never', image.reference, id),
    remove: (...ids) => `podman rm --force ${ids.join(' ')}`,
    removeImage: (image) => `podman rmi ${image.reference}`,
  }
}
