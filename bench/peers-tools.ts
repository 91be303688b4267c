/**
 * The tools that are measured beside each other, each with a storage of its own, behind one interface: what to run for a
 * root filesystem, another one of the same image, and for taking them away. Measures nothing.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { removeTree } from '../lib/linux/remove-tree.js'
import { findTool } from '../test/images/tools.js'
import { unmountBelow } from './filesystem.js'
import { type Command, environmentWith } from './measure.js'
import { MAIN } from './rows.js'

/** An image as the tools are given it. */
export interface PeerImage {
  /** As the layout calls it: `debian`, `copies-01`. */
  readonly name: string
  /** HOST:PORT/REPOSITORY:TAG. */
  readonly reference: string
}

/** Scripts are those of sh, and run by `command`. */
export interface Tool {
  /** With its version: `podman 5.8 composefs`. */
  readonly name: string
  readonly isGroot: boolean
  readonly version: string
  /** What it leaves on disk at the end of a create, and what it verified. */
  readonly about: string
  /** Only what near-copies of an image take is measured. */
  readonly onlyCopies?: boolean
  /** Whether a warm create does not unpack everything again, so that fifty can be made. */
  readonly keepsImages: boolean
  /** All that it stores. */
  readonly storage: string
  /** What of it are images as the registry had them; null when it keeps none. */
  readonly blobs: string | null
  /** Makes an empty storage, where a create is all that is left to do. */
  prepare(): Promise<void>
  /** Takes everything away again: mounts, processes, storage. May be called at any time. */
  clear(): Promise<void>
  command(script: string): Command
  /** From the registry to a root filesystem that can be used. */
  create(image: PeerImage, id: string): string
  /** Another one of an image that is in the storage; no registry is asked. */
  createAgain(image: PeerImage, id: string): string
  remove(...ids: string[]): string
  /** Takes the image and all that was kept for it away; there is no root filesystem of it left. */
  removeImage(image: PeerImage): string
}

/** Where the tools work. */
export interface Places {
  /** The filesystem that is measured. */
  readonly place: string
  /** A tmpfs: sockets and states, whose paths must be short. */
  readonly run: string
  /** HOST:PORT */
  readonly registry: string
  readonly layout: string
}

/** A root filesystem that programs are taken from; null for that of the machine. */
export type Root = string | null

/** What a program prints of itself, null where it is not there or does not start. */
export function versionOf(root: Root, program: string): string | null {
  if (root === null && findTool(program) === null) return null
  try {
    const argv = [...prefix(root), program, '--version']
    const printed = execFileSync(argv[0]!, argv.slice(1), {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    return printed.split('\n')[0]!.trim()
  } catch {
    return null
  }
}

/** For programs that do not tell a version. */
export function hasProgram(root: Root, program: string): boolean {
  const [first, ...others] = script(root, `command -v ${program}`).argv
  return spawnSync(first, others, { stdio: 'ignore' }).status === 0
}

/** `5.8` of `podman version 5.8.6`. */
export function shortVersion(printed: string): string {
  return /\d+\.\d+/.exec(printed)?.[0] ?? printed
}

export function prefix(root: Root): string[] {
  return root === null ? [] : ['chroot', root]
}

export function script(root: Root, text: string, env: Readonly<Record<string, string>> = {}): Command {
  const [first, ...others] = [...prefix(root), 'sh', '-euc', text]
  return { argv: [first!, ...others], env }
}

/** One after the other; ends with the first that fails, which -e does not see in a list of `&&`. */
export function inTurn(texts: readonly string[]): string {
  return texts.join(' &&\n')
}

/** Runs what is not measured. */
export function runNow({ argv, env }: Command): void {
  execFileSync(argv[0], argv.slice(1), {
    env: environmentWith(env),
    stdio: ['ignore', 'ignore', 'inherit'],
    timeout: 120_000,
  })
}

/** Removes a directory with what is mounted in it, be it through the root filesystem of a chroot. */
export function wipe(root: Root, directory: string): void {
  if (root !== null) unmountBelow(`${root}${directory}`)
  unmountBelow(directory)
  removeTree(directory)
}

/** A Node that groot is run by. */
export interface Runtime {
  readonly program: string
  /** What is behind the name of a tool that is run by it; empty for that of the benchmark itself. */
  readonly suffix: string
}

/** @param programs further Nodes @throws when one of them does not start */
export function runtimesOf(programs: readonly string[]): Runtime[] {
  const others = programs.map((program) => {
    const version = execFileSync(program, ['--version'], { encoding: 'utf8' })
    return { program, suffix: ` (Node ${/\d+/.exec(version)?.[0] ?? program})` }
  })
  return [{ program: process.execPath, suffix: '' }, ...others]
}

export function grootTools(places: Places, runtimes: readonly Runtime[]): Tool[] {
  return runtimes.flatMap((runtime) => [
    grootTool(
      places,
      runtime,
      'groot',
      [],
      'every byte verified, contents stored once, durable when it ends',
    ),
    grootTool(places, runtime, 'groot --no-sync', ['--no-sync'], 'the same, and not waiting for the disk'),
  ])
}

function grootTool(
  { place, registry }: Places,
  { program, suffix }: Runtime,
  title: string,
  init: readonly string[],
  about: string,
): Tool {
  const name = `${title}${suffix}`
  const store = `${place}/${name.replaceAll(/[ ()]/g, '')}`
  const packageJson = JSON.parse(readFileSync(join(dirname(MAIN), '../../package.json'), 'utf8')) as {
    version: string
  }
  const groot = `${program} ${MAIN} --store ${store}`
  const create = `${groot} create --insecure-registry ${registry}`
  const command = (text: string) => script(null, text, { GROOT_STORE: '', GROOT_DRIVER: '' })
  return {
    name,
    isGroot: true,
    version: `groot ${packageJson.version}`,
    about,
    keepsImages: true,
    storage: store,
    blobs: null,
    async prepare() {
      runNow(command([groot, '--driver overlay init-store', ...init].join(' ')))
    },
    async clear() {
      wipe(null, store)
    },
    command,
    create: (image, id) => `${create} docker://${image.reference} ${id}`,
    createAgain: (image, id) => `${create} --pull never docker://${image.reference} ${id}`,
    remove: (...ids) => `${groot} delete ${ids.join(' ')}`,
    removeImage: (image) => `${groot} rmi docker://${image.reference}`,
  }
}

/** skopeo fetches into a layout, umoci unpacks from it; every create unpacks. Empty where one of them is missing. */
export function umociTools({ place }: Places, root: Root): Tool[] {
  const versions = [versionOf(root, 'umoci'), versionOf(root, 'skopeo')] as const
  if (versions[0] === null || versions[1] === null) return []
  const name = `umoci ${shortVersion(versions[0])}`
  const storage = `${place}/${name.replace(' ', '-')}`
  const blobs = `${storage}/layout`
  const unpack = (image: PeerImage, id: string) =>
    `umoci unpack --image ${blobs}:${image.name} ${storage}/${id}`
  return [
    {
      name,
      isGroot: false,
      version: `${versions[0]}, ${versions[1]}`,
      about:
        'skopeo copy into an OCI layout, then umoci unpack: blobs verified, a directory for each root filesystem',
      keepsImages: false,
      storage,
      blobs,
      async prepare() {
        mkdirSync(storage)
      },
      async clear() {
        wipe(root, storage)
      },
      command: (text) => script(root, text),
      create: (image, id) =>
        `skopeo --insecure-policy copy --quiet --src-tls-verify=false docker://${image.reference} oci:${blobs}:${image.name} && ${unpack(image, id)}`,
      createAgain: unpack,
      remove: (...ids) => `rm -rf ${ids.map((id) => `${storage}/${id}`).join(' ')}`,
      removeImage: () => `rm -rf ${blobs}`,
    },
  ]
}
