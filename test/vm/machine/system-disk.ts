/**
 * The root filesystem of the machines, read-only and the same for all: this host's node with the libraries that it is
 * linked with, groot as it was compiled, the packages that it needs at run time, and the checks.
 */
import {
  chmodSync,
  constants,
  copyFileSync,
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { type OwnImage, writeLayout } from '../../images/layout.js'
import { run } from '../../images/tools.js'
import { emptyFile } from './disks.js'
import { REPORT_FUNCTIONS } from './initramfs.js'
import { GUEST_PROGRAM, IMAGES, MOUNT_POINTS } from './places.js'

export interface SystemParts {
  /** Root of groot's sources, with `dist/` and `node_modules/`. */
  readonly root: string
  readonly busybox: string
  /** What the layout at IMAGES holds. */
  readonly images: readonly OwnImage[]
  /** Where the image file and its parts are made; a directory of the caller's own. */
  readonly scratch: string
}

const COMPILED = ['bundle', 'lib', 'cli', 'drivers', 'test']
const MEBIBYTE = 1024 * 1024

/** Makes the image file. Returns its path. */
export async function makeSystemDisk({ root, busybox, images, scratch }: SystemParts): Promise<string> {
  const staging = join(scratch, 'system')
  for (const name of ['bin', 'dev', 'groot', 'proc', 'root', 'sys', 'tmp', IMAGES, ...MOUNT_POINTS])
    mkdirSync(join(staging, name), { recursive: true })
  writeFileSync(join(staging, 'init'), INIT)
  copyProgram(busybox, join(staging, 'bin/busybox'))
  const applets = (await run(busybox, ['--list'])).split('\n')
  for (const applet of applets.filter((name) => name !== '' && name !== 'busybox'))
    symlinkSync('busybox', join(staging, 'bin', applet))
  copyProgram(process.execPath, join(staging, 'bin/node'))
  writeLayout(join(staging, IMAGES), images, ['gzip'])
  copyGroot(root, join(staging, 'groot'), productionPackages(root))
  const addons = filesBelow(join(staging, 'groot/node_modules')).filter((path) => path.endsWith('.node'))
  for (const library of await librariesOf([process.execPath, ...addons])) {
    mkdirSync(join(staging, dirname(library)), { recursive: true })
    copyFileSync(library, join(staging, library), constants.COPYFILE_FICLONE)
  }
  const file = join(scratch, 'system.img')
  await writeImage(staging, file)
  rmSync(staging, { recursive: true })
  return file
}

/**
 * Reports, runs the guest program, and switches the machine off. A machine that the host forgot ends by itself.
 *
 * Arguments: the seconds that the machine may take at most, then the guest program's.
 */
const INIT = `#!/bin/busybox sh
export PATH=/bin
${REPORT_FUNCTIONS.trim()}
seconds=$1
shift
(sleep "$seconds"; poweroff -f) &
echo "{\\"kind\\":\\"up\\",\\"release\\":\\"$(uname -r)\\"}" >"$port"
export HOME=/root TMPDIR=/tmp NO_COLOR=1
/bin/node ${GUEST_PROGRAM} "$port" "$@"
echo "{\\"kind\\":\\"ended\\",\\"status\\":$?}" >"$port"
sync
poweroff -f
`

function copyProgram(from: string, to: string): void {
  copyFileSync(from, to, constants.COPYFILE_FICLONE)
  chmodSync(to, 0o755)
}

function copyGroot(root: string, to: string, packages: readonly string[]): void {
  const isWanted = (path: string): boolean => !/\.(?:d\.[cm]?ts|map|md)$/.test(path)
  for (const name of COMPILED)
    cpSync(join(root, 'dist', name), join(to, 'dist', name), { recursive: true, filter: isWanted })
  copyFileSync(join(root, 'package.json'), join(to, 'package.json'))
  for (const path of packages) {
    // Packages inside packages are listed by themselves.
    const isOwn = (file: string): boolean =>
      isWanted(file) && !file.startsWith(join(root, path, 'node_modules'))
    cpSync(join(root, path), join(to, path), { recursive: true, filter: isOwn })
  }
}

/** `node_modules/…` of what the published program needs, as npm wrote it down when it installed. */
function productionPackages(root: string): string[] {
  interface Installed {
    readonly dev?: boolean
    readonly devOptional?: boolean
  }
  const written = readFileSync(join(root, 'node_modules/.package-lock.json'), 'utf8')
  const { packages } = JSON.parse(written) as { packages: Record<string, Installed> }
  return Object.entries(packages)
    .filter(([path, { dev, devOptional }]) => path !== '' && !dev && !devOptional)
    .map(([path]) => path)
}

/** Absolute paths of the shared libraries that programs and addons load, the loader among them. */
async function librariesOf(files: readonly string[]): Promise<string[]> {
  const found = new Set<string>()
  for (const file of files) {
    const listing = await run('ldd', [file])
    for (const [, path] of listing.matchAll(/(?:^|\s)(\/\S+) \(0x/g)) found.add(path!)
  }
  return [...found]
}

function filesBelow(directory: string): string[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
}

async function writeImage(directory: string, file: string): Promise<void> {
  const [kibibytes] = (await run('du', ['-sk', '--apparent-size', directory])).split('\t')
  // A third more for block ends, inodes and tables.
  await emptyFile(file, Math.ceil((Number(kibibytes) / 1024) * 1.33 + 16) * MEBIBYTE)
  const options = ['-q', '-t', 'ext4', '-b', '4096', '-m', '0', '-O', '^has_journal', '-E', 'root_owner=0:0']
  await run('mke2fs', [...options, '-d', directory, file])
}
