/**
 * Where the kernel of the machines comes from: Debian 13's cloud kernel (6.12), fetched by apt from the mirror that the
 * host's apt uses already, checked by apt's signatures, and kept in a cache directory.
 *
 * Nothing is installed and none of the host's apt state is touched: apt works on lists and sources of its own.
 */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { attempt, run } from '../../images/tools.js'

export interface Kernel {
  /** What `uname -r` says in it. */
  readonly release: string
  readonly image: string
  /** Directory with `modules.order` and `kernel/`. */
  readonly modules: string
}

/** There is no kernel in the cache, and it could not be fetched. */
export class NoKernel extends Error {}

const SUITE = 'trixie'
const SERIES = '6.12'
const META_PACKAGE = 'linux-image-cloud-amd64'
const FALLBACK_MIRROR = 'http://deb.debian.org/debian'
const PACKAGE = /^linux-image-6\.12[0-9.]*[^_]*-cloud-amd64_.*_amd64\.deb$/
const FETCH_TIMEOUT_MS = 300_000

/** `GROOT_VM_CACHE`, or `groot-vm` in the user's cache directory. */
export function cacheDirectory(): string {
  if (process.env.GROOT_VM_CACHE) return process.env.GROOT_VM_CACHE
  return join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'groot-vm')
}

/**
 * The newest kernel of the cache; fetches one when there is none.
 *
 * @throws {NoKernel} when it cannot be fetched; the message says why
 */
export async function kernelFrom(cache: string): Promise<Kernel> {
  mkdirSync(cache, { recursive: true })
  let name = newestPackage(cache)
  if (name === undefined) {
    await fetchPackage(cache)
    name = newestPackage(cache)
  }
  if (name === undefined) throw new NoKernel(`apt fetched no ${META_PACKAGE} of ${SERIES}`)
  return await unpacked(cache, name)
}

function newestPackage(cache: string): string | undefined {
  const found = readdirSync(cache).filter((name) => PACKAGE.test(name))
  return found.sort((a, b) => a.localeCompare(b, 'en', { numeric: true })).at(-1)
}

/** Unpacks the package beside itself, once: aside first, so that a killed run leaves nothing that looks whole. */
async function unpacked(cache: string, name: string): Promise<Kernel> {
  const directory = join(cache, name.replace(/\.deb$/, ''))
  if (!existsSync(directory)) {
    const aside = mkdtempSync(join(cache, 'unpacking-'))
    try {
      await run('dpkg-deb', ['-x', join(cache, name), join(aside, 'kernel')])
      renameSync(join(aside, 'kernel'), directory)
    } catch (error) {
      // Another run may have been faster.
      if (!existsSync(directory)) throw error
    } finally {
      rmSync(aside, { recursive: true, force: true })
    }
  }
  const image = readdirSync(join(directory, 'boot')).find((file) => file.startsWith('vmlinuz-'))
  if (image === undefined) throw new Error(`${directory}/boot holds no kernel`)
  const release = image.slice('vmlinuz-'.length)
  // Debian moves the modules from /lib to /usr/lib.
  const places = ['usr/lib/modules', 'lib/modules'].map((place) => join(directory, place, release))
  const modules = places.find((place) => existsSync(join(place, 'modules.order')))
  if (modules === undefined) throw new Error(`${directory} holds no modules of ${release}`)
  return { release, image: join(directory, 'boot', image), modules }
}

async function fetchPackage(cache: string): Promise<void> {
  const scratch = mkdtempSync(join(cache, 'fetching-'))
  try {
    for (const part of ['lists/partial', 'archives/partial', 'package'])
      mkdirSync(join(scratch, part), { recursive: true })
    const keyring = ['gpg', 'pgp']
      .map((end) => `/usr/share/keyrings/debian-archive-keyring.${end}`)
      .find(existsSync)
    const signedBy = keyring === undefined ? '' : `[signed-by=${keyring}] `
    writeFileSync(join(scratch, 'sources.list'), `deb ${signedBy}${await mirror()} ${SUITE} main\n`)
    const options = aptOptions(scratch)
    await apt('apt-get', [...options, '-q', 'update'])
    const depends = await apt('apt-cache', [...options, 'depends', META_PACKAGE])
    const name = /Depends: (linux-image-6\.12\S*)/.exec(depends)?.[1]
    if (name === undefined) throw new NoKernel(`${META_PACKAGE} of ${SUITE} is not of the series ${SERIES}`)
    await apt('apt-get', [...options, '-q', 'download', name], join(scratch, 'package'))
    for (const file of readdirSync(join(scratch, 'package')))
      renameSync(join(scratch, 'package', file), join(cache, decodeURIComponent(file)))
  } finally {
    rmSync(scratch, { recursive: true, force: true })
  }
}

/** Lists, sources and packages of its own; the host's are neither read nor changed. */
function aptOptions(scratch: string): string[] {
  const settings = {
    'APT::Architecture': 'amd64',
    'APT::Architectures': 'amd64',
    // apt gives up root for a user who cannot reach the directory.
    'APT::Sandbox::User': 'root',
    'Acquire::Languages': 'none',
    'Acquire::Retries': '3',
    'Dir::Cache': scratch,
    'Dir::Etc::SourceList': join(scratch, 'sources.list'),
    'Dir::Etc::SourceParts': '/dev/null',
    'Dir::State': scratch,
    'Dir::State::lists': join(scratch, 'lists'),
  }
  return Object.entries(settings).flatMap(([key, value]) => ['-o', `${key}=${value}`])
}

/** The mirror that this host has Debian from; of other distributions, Debian's own. */
async function mirror(): Promise<string> {
  const listing = await attempt('apt-get', [
    'indextargets',
    '--format',
    '$(LABEL) $(REPO_URI)',
    'Created-By: Packages',
  ])
  return /^Debian (\S+)$/m.exec(listing.stdout)?.[1] ?? FALLBACK_MIRROR
}

async function apt(command: string, args: readonly string[], cwd?: string): Promise<string> {
  const options = { timeoutMs: FETCH_TIMEOUT_MS, env: { LC_ALL: 'C' }, ...(cwd === undefined ? {} : { cwd }) }
  const { status, stdout, stderr } = await attempt(command, args, options)
  if (status === 0) return stdout
  const reason = stderr.trim().split('\n').at(-1) || `exit ${status}`
  throw new NoKernel(`${command} ${args.at(-1)}: ${reason}`)
}
