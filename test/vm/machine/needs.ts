/**
 * What the host must have to run machines, and what it lacks.
 */
import { readFileSync, statfsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { findTool } from '../../images/tools.js'

export const QEMU = 'qemu-system-x86_64'
/** setpriv ends qemu when the test process dies; xz, dpkg-deb and apt-get are for the kernel's package. */
const TOOLS = [QEMU, 'apt-get', 'busybox', 'dpkg-deb', 'ldd', 'mke2fs', 'setpriv', 'xz']

/** The system disk twice while it is made, the disks of one machine as far as the cases fill them, the memory's rest. */
const ROOM_BYTES = 1024 ** 3

export interface Host {
  readonly arch: string
  readonly findTool: (name: string) => string | null
  readonly isStatic: (path: string) => boolean
  /** Where machines are made, and the bytes that are free there. */
  readonly scratch: { readonly path: string; readonly freeBytes: number }
}

export function thisHost(): Host {
  const { bavail, bsize } = statfsSync(tmpdir())
  return {
    arch: process.arch,
    findTool,
    isStatic,
    scratch: { path: tmpdir(), freeBytes: bavail * bsize },
  }
}

/** Why no machine can run here, as the rest of `skipped: …`; null when one can. */
export function missingForMachines(host: Host): string | null {
  // A machine runs the host's node, and the checks' kernel is the cloud kernel of that architecture.
  if (host.arch !== 'x64') return `needs x64, this is ${host.arch}`
  const tools = TOOLS.filter((tool) => host.findTool(tool) === null)
  if (tools.length > 0) return `needs ${tools.join(', ')}`
  if (!host.isStatic(host.findTool('busybox')!)) return 'needs a static busybox (package busybox-static)'
  const { path, freeBytes } = host.scratch
  if (freeBytes < ROOM_BYTES)
    return `needs 1024 MiB in ${path}, ${Math.floor(freeBytes / 1024 ** 2)} are free`
  return null
}

const PT_INTERP = 3

/** Whether a 64-bit ELF file names no loader (elf(5), program headers). */
export function isStatic(path: string): boolean {
  const file = readFileSync(path)
  const [start, size, count] = [
    Number(file.readBigUInt64LE(32)),
    file.readUInt16LE(54),
    file.readUInt16LE(56),
  ]
  for (let i = 0; i < count; i++) if (file.readUInt32LE(start + i * size) === PT_INTERP) return false
  return true
}
