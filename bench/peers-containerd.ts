/**
 * containerd with its command ctr. Each snapshotter is a tool with a daemon of its own, which the benchmark starts for an empty
 * storage and ends again; its processor time and memory count as those of the command.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { closeSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { setTimeout } from 'node:timers/promises'
import {
  hasProgram,
  inTurn,
  type PeerImage,
  type Places,
  prefix,
  type Root,
  script,
  shortVersion,
  type Tool,
  versionOf,
  wipe,
} from './peers-tools.js'

const START_TRIES = 100
const TRY_EVERY_MS = 100
const END_WITHIN_MS = 10_000

type Snapshotter = 'overlayfs' | 'erofs'

const ABOUT: Record<Snapshotter, string> = {
  overlayfs: 'blobs verified and kept; unpacked into a directory for each layer',
  erofs: 'blobs verified and kept; an EROFS image made of the tar of each layer',
}

/** Those that a root filesystem has; EROFS from version 2.1 on, which needs mkfs.erofs. */
export function containerdTools(places: Places, root: Root): Tool[] {
  const printed = versionOf(root, 'containerd')
  if (printed === null || !hasProgram(root, 'ctr')) return []
  const version = /\d+\.\d+\.\d+\S*/.exec(printed)?.[0] ?? printed
  const [major = 0, minor = 0] = shortVersion(version).split('.').map(Number)
  const hasErofs = (major > 2 || (major === 2 && minor >= 1)) && hasProgram(root, 'mkfs.erofs')
  const snapshotters: Snapshotter[] = hasErofs ? ['overlayfs', 'erofs'] : ['overlayfs']
  return snapshotters.map((snapshotter) => new Containerd(places, root, version, snapshotter))
}

class Containerd implements Tool {
  readonly name: string
  readonly isGroot = false
  readonly version: string
  readonly about: string
  readonly keepsImages = true
  readonly storage: string
  readonly blobs: string
  readonly #root: Root
  readonly #snapshotter: Snapshotter
  readonly #mounts: string
  readonly #state: string
  readonly #config: string
  readonly #ctr: string
  readonly #pull: string
  #daemon: ChildProcess | null = null

  constructor({ place, run }: Places, root: Root, version: string, snapshotter: Snapshotter) {
    this.name = `containerd ${shortVersion(version)}${snapshotter === 'erofs' ? ' erofs' : ''}`
    this.version = `containerd ${version}`
    this.about = ABOUT[snapshotter]
    this.#root = root
    this.#snapshotter = snapshotter
    const directory = this.name.replaceAll(' ', '-')
    this.storage = `${place}/${directory}`
    this.blobs = `${this.storage}/root/io.containerd.content.v1.content`
    this.#mounts = `${this.storage}/mounts`
    this.#state = `${run}/${directory}`
    const major = Number.parseInt(shortVersion(version), 10)
    this.#config = `${place}/config/${directory}.toml`
    mkdirSync(`${place}/config`, { recursive: true })
    writeFileSync(this.#config, configOf(`${this.storage}/root`, this.#state, major, snapshotter))
    this.#ctr = `ctr --address ${this.#state}/sock`
    this.#pull = `${this.#ctr} images pull ${major >= 2 ? '--local ' : ''}--plain-http --snapshotter ${snapshotter}`
  }

  async prepare(): Promise<void> {
    mkdirSync(this.#mounts, { recursive: true })
    const log = openSync(`${this.storage}/log`, 'a')
    const [program, ...args] = [...prefix(this.#root), 'containerd', '--config', this.#config]
    // In a group of its own: what interrupts the benchmark must not end it before what it works for.
    this.#daemon = spawn(program!, args, { stdio: ['ignore', log, log], detached: true })
    closeSync(log)
    this.#daemon.on('error', () => {})
    const [ask, ...question] = script(this.#root, `${this.#ctr} version`).argv
    for (let i = 0; i < START_TRIES && this.#daemon.exitCode === null; i++) {
      await setTimeout(TRY_EVERY_MS)
      if (spawnSync(ask, question, { stdio: 'ignore' }).status === 0) return
    }
    throw new Error(`containerd does not start:\n${readFileSync(`${this.storage}/log`, 'utf8').slice(-1000)}`)
  }

  async clear(): Promise<void> {
    const daemon = this.#daemon
    this.#daemon = null
    if (
      daemon !== null &&
      daemon.exitCode === null &&
      daemon.signalCode === null &&
      daemon.pid !== undefined
    ) {
      const gone = new Promise((done) => daemon.once('exit', done))
      daemon.kill('SIGTERM')
      await Promise.race([gone, setTimeout(END_WITHIN_MS, undefined, { ref: false })])
      daemon.kill('SIGKILL')
      await gone
    }
    wipe(this.#root, this.storage)
    wipe(null, `${this.#root ?? ''}${this.#state}`)
  }

  command(text: string) {
    const pid = this.#daemon?.pid
    return { ...script(this.#root, text), ...(pid === undefined ? {} : { daemonPid: pid }) }
  }

  create(image: PeerImage, id: string): string {
    return `${this.#pull} ${image.reference} && ${this.createAgain(image, id)}`
  }

  /** Not `snapshots prepare` with the mounts that it prints: many layers are more than mount(8) can be told. */
  createAgain(image: PeerImage, id: string): string {
    const target = `${this.#mounts}/${id}`
    return `mkdir ${target} && ${this.#ctr} images mount --rw --snapshotter ${this.#snapshotter} ${image.reference} ${target}`
  }

  remove(...ids: string[]): string {
    const unmount = `${this.#ctr} images unmount --rm --snapshotter ${this.#snapshotter}`
    const targets = ids.map((id) => `${this.#mounts}/${id}`)
    return inTurn(targets.map((target) => `${unmount} ${target} && rmdir ${target}`))
  }

  removeImage(image: PeerImage): string {
    return `${this.#ctr} images rm --sync ${image.reference}`
  }
}

/** Nothing of Kubernetes, and nothing outside of the two directories. */
function configOf(root: string, state: string, major: number, snapshotter: Snapshotter): string {
  const kubernetes =
    major >= 2
      ? [
          'io.containerd.grpc.v1.cri',
          'io.containerd.cri.v1.images',
          'io.containerd.cri.v1.runtime',
          'io.containerd.nri.v1.nri',
        ]
      : ['io.containerd.grpc.v1.cri']
  const disabled = [...kubernetes, 'io.containerd.internal.v1.opt'].map((plugin) => `"${plugin}"`).join(', ')
  const differ =
    snapshotter === 'erofs'
      ? '[plugins."io.containerd.service.v1.diff-service"]\n  default = ["erofs", "walking"]\n'
      : ''
  return `version = ${major >= 2 ? 3 : 2}
root = "${root}"
state = "${state}/state"
disabled_plugins = [${disabled}]
[grpc]
  address = "${state}/sock"
${differ}`
}
