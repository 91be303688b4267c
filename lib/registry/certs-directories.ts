/**
 * The directories of certs.d: which one is a registry's, and what is in it. Each is read once.
 */
import { certificateFiles } from '../config/certificate-files.js'
import type { HostsToml } from '../config/hosts-toml.js'
import { DEFAULT_DIRECTORY, hostDirectories } from '../config/names.js'
import type { FilePlace } from '../config/places.js'
import { type Certificates, readCertificates } from './certificates.js'
import { readConfigDirectory, readConfigFile } from './config-files.js'

const HOSTS_TOML = 'hosts.toml'
const NONE: Certificates = { ca: [], client: [] }

/** A directory that is there. */
interface Directory {
  readonly path: string
  readonly names: readonly string[]
}

/** Registries are named as files name them: `docker.io` for Docker Hub. What throws, throws as lib/config says. */
export class CertsDirectories {
  readonly #containerd: FilePlace | null
  readonly #others: readonly string[]
  readonly #onRead: (toml: HostsToml) => void
  readonly #owns = new Map<string, Promise<Directory | null>>()
  readonly #tomls = new Map<string, Promise<HostsToml>>()

  /**
   * @param containerd where hosts.toml is looked for, and certificates beside it
   * @param others where there are certificates only; the first that has a registry's directory counts
   * @param onRead told of each hosts.toml
   */
  constructor(containerd: FilePlace | null, others: readonly string[], onRead: (toml: HostsToml) => void) {
    this.#containerd = containerd
    this.#others = others
    this.#onRead = onRead
  }

  /** The hosts.toml in the registry's own directory; null when there is none. */
  async hostsToml(name: string): Promise<HostsToml | null> {
    const directory = await this.#own(name)
    return directory?.names.includes(HOSTS_TOML) ? await this.#read(directory) : null
  }

  /** The hosts.toml for registries without a directory of their own; null for those that have one. */
  async defaultHostsToml(name: string): Promise<HostsToml | null> {
    if (this.#containerd === null || (await this.#own(name)) !== null) return null
    const directory = await look(`${this.#containerd.path}/${DEFAULT_DIRECTORY}`)
    return directory?.names.includes(HOSTS_TOML) ? await this.#read(directory) : null
  }

  /** The certificates that directories have for a registry by their files' names. */
  async certificates(name: string): Promise<Certificates> {
    const own = await this.#own(name)
    // Beside a hosts.toml, certificates are there for it to name.
    if (own !== null && !own.names.includes(HOSTS_TOML) && own.names.some(isCertificate))
      return await readFrom(own)
    for (const place of this.#others) {
      const directory = await look(`${place}/${name}`)
      if (directory !== null) return await readFrom(directory)
    }
    return NONE
  }

  #own(name: string): Promise<Directory | null> {
    const known = this.#owns.get(name) ?? this.#findOwn(name)
    this.#owns.set(name, known)
    return known
  }

  async #findOwn(name: string): Promise<Directory | null> {
    const place = this.#containerd
    if (place === null) return null
    if (place.isNamed) await readConfigDirectory(place) // one that the caller named has to be there
    for (const directory of hostDirectories(name)) {
      const found = await look(`${place.path}/${directory}`)
      if (found !== null) return found
    }
    return null
  }

  #read({ path }: Directory): Promise<HostsToml> {
    const file = `${path}/${HOSTS_TOML}`
    const known = this.#tomls.get(file) ?? this.#parse(file)
    this.#tomls.set(file, known)
    return known
  }

  async #parse(file: string): Promise<HostsToml> {
    const source = await readConfigFile({ path: file, isNamed: true })
    // Loaded where there is such a file: most machines have none.
    const { parseHostsToml } = await import('../config/hosts-toml.js')
    const toml = parseHostsToml(source ?? '', file)
    this.#onRead(toml)
    return toml
  }
}

async function look(path: string): Promise<Directory | null> {
  const names = await readConfigDirectory({ path, isNamed: false })
  return names === null ? null : { path, names }
}

async function readFrom({ path, names }: Directory): Promise<Certificates> {
  const { ca, client } = certificateFiles(path, names)
  const absolute = (name: string) => `${path}/${name}`
  return await readCertificates({
    ca: ca.map(absolute),
    client: client.map(({ cert, key }) => ({ cert: absolute(cert), key: absolute(key ?? cert) })),
  })
}

function isCertificate(name: string): boolean {
  return /\.(?:crt|cert|key)$/.test(name)
}
