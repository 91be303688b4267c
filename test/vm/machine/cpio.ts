/**
 * The archive that the kernel unpacks as its first root (Documentation/driver-api/early-userspace/buffer-format.rst):
 * cpio in the form `newc`, without compression.
 */

export type CpioEntry =
  | { readonly kind: 'directory'; readonly path: string }
  | { readonly kind: 'file'; readonly path: string; readonly mode: number; readonly content: Uint8Array }

const DIRECTORY = 0o040755
const REGULAR = 0o100000

/** @param entries parents before what is in them; paths without a leading slash */
export function cpioArchive(entries: readonly CpioEntry[]): Buffer {
  const parts = entries.flatMap((entry, index) =>
    entry.kind === 'directory'
      ? member(entry.path, DIRECTORY, index + 1)
      : member(entry.path, REGULAR | entry.mode, index + 1, entry.content),
  )
  return Buffer.concat([...parts, ...member('TRAILER!!!', 0, 0)])
}

function member(path: string, mode: number, inode: number, content: Uint8Array = Buffer.alloc(0)): Buffer[] {
  const name = Buffer.from(`${path}\0`)
  const links = 1
  const fields = [inode, mode, 0, 0, links, 0, content.length, 0, 0, 0, 0, name.length, 0]
  const header = Buffer.from(`070701${fields.map(hex).join('')}`)
  return [padded(Buffer.concat([header, name])), padded(content)]
}

function hex(value: number): string {
  return value.toString(16).padStart(8, '0')
}

/** Headers with their names, and contents, end at a multiple of four bytes. */
function padded(bytes: Uint8Array): Buffer {
  return Buffer.concat([bytes, Buffer.alloc(-bytes.length & 3)])
}
