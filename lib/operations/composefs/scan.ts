/**
 * A directory of this machine as a tree, every content hashed: what mkcomposefs does with one.
 *
 * This thread walks through the directories and reads what is not a regular file; regular files are read in batches, by
 * threads and by this one when it has walked (lib/worker/scan-crew.ts). Names are bytes, symlinks are never followed, and
 * mounts below are entered as mkcomposefs enters them.
 */
import { availableParallelism } from 'node:os'
import { type ByteString, EMPTY } from '../../bytes.js'
import type { VerityDigest } from '../../digest.js'
import { isErrno, NotFoundError, toGrootError, UsageError } from '../../errors.js'
import { pathString } from '../../linux/c-string.js'
import { DirectoryChain } from '../../linux/directory-chain.js'
import { withPath } from '../../linux/errno.js'
import { close, openDirectory, openDirectoryAt, readLinkAt } from '../../linux/files.js'
import { readDirectory } from '../../linux/read-directory.js'
import { runInSlices, type Work } from '../../linux/slices.js'
import { type FileKind, type FileStat, statAt, statDescriptor } from '../../linux/stat.js'
import { xattrsAt, xattrsOf } from '../../linux/xattr.js'
import {
  type Directory,
  type Inode,
  type Metadata,
  NO_CONTENT,
  NO_XATTRS,
  type NonDirectory,
  type RegularFile,
  type Tree,
} from '../../tree/model.js'
import { type CrewBatch, ScanCrew } from '../../worker/scan-crew.js'
import { type FileRecord, FileScanner, type ScanSettings, takenXattrs } from '../../worker/scan-files.js'
import { sourceChanged } from '../../worker/source-changed.js'
import { shown } from './input.js'

export interface ScanOptions extends Omit<ScanSettings, 'root'> {
  /** How many threads read, this one included. Default: one for each processor, at most 8. */
  readonly threads?: number
  readonly signal?: AbortSignal | undefined
}

export interface ScannedTree {
  /** Objects have their digests by the algorithm that was asked for, as long as that has them. */
  readonly tree: Tree
  /** Objects that were staged. */
  readonly staged: readonly string[]
}

const MAX_THREADS = 8 // beyond, it is the disk that is waited for
const BATCH_FILES = 64
/** Batches that may wait before this thread reads one itself and walks on afterwards. */
const MAX_WAITING = 256

/**
 * @param path symlinks on the way and at its end are followed, for it is the caller's word
 * @throws {IntegrityError} `source-changed` when something is changed, vanishes or is replaced meanwhile
 * @throws {UsageError} `usage-invalid` when it is no directory
 * @throws {SystemError} when something cannot be read; the facts name it
 */
export async function scanToTree(path: string, options: ScanOptions): Promise<ScannedTree> {
  const root = openRoot(path)
  using chain = new DirectoryChain(root)
  const scan = new Scan(
    { ...options, root },
    options.threads ?? Math.min(availableParallelism(), MAX_THREADS),
  )
  try {
    const tree = await runInSlices(scan.walk(chain), options.signal)
    do {
      await runInSlices(scan.readWaiting(), options.signal)
    } while (await scan.more(options.signal))
    return { tree, staged: scan.staged }
  } catch (error) {
    throw toGrootError(error, `Cannot scan ${shown(path)}`)
  } finally {
    await scan.close()
  }
}

/** @throws {NotFoundError} `file-missing` @throws {UsageError} `usage-invalid` when it is no directory */
export function checkRoot(path: string): void {
  close(openRoot(path))
}

function openRoot(path: string): number {
  try {
    return openDirectory(pathString(path))
  } catch (error) {
    if (isErrno(error, 'ENOENT')) {
      throw new NotFoundError('file-missing', `Cannot scan ${shown(path)}: there is no such directory`, {
        facts: { path },
        cause: error,
      })
    }
    if (!isErrno(error, 'ENOTDIR')) throw toGrootError(error, `Cannot scan ${shown(path)}`)
    const message = `Cannot scan ${shown(path)}: it is no directory; --from-file reads text of composefs-dump(5)`
    throw new UsageError('usage-invalid', message, { facts: { path }, cause: error })
  }
}

/** Where a file belongs that is being read. */
interface Place {
  readonly into: Directory
  readonly name: ByteString
}

class Scan {
  readonly staged: string[] = []
  readonly #settings: ScanSettings
  readonly #crew: ScanCrew<Place>
  readonly #scanner: FileScanner
  /** Files that have more names than one, by device and inode. */
  readonly #linked = new Map<string, NonDirectory>()
  #batch = new OpenBatch()

  constructor(settings: ScanSettings, threads: number) {
    this.#settings = settings
    this.#crew = new ScanCrew(settings, threads, (read, records) => this.#receive(read, records))
    this.#scanner = new FileScanner(settings)
  }

  /** Reads all but regular files, which are left to the crew. */
  *walk(chain: DirectoryChain): Work<Tree> {
    const root = this.#directory(chain.rootFd)
    const levels = [{ path: EMPTY, directory: root, names: this.#list(chain.rootFd, EMPTY, root) }]
    for (;;) {
      const level = levels[levels.length - 1]!
      const name = level.names.pop()
      if (name !== undefined) {
        const path = pathOf(level.path, name)
        const fd = openListed(chain.fd, name, path)
        chain.enter(name, fd)
        const directory = this.#directory(fd)
        level.directory.children.set(name, directory)
        levels.push({ path, directory, names: this.#list(fd, path, directory) })
        yield
      } else if (levels.length > 1) {
        levels.pop()
        chain.leave()
      } else {
        this.#close()
        return { root }
      }
      while (this.#crew.waiting > MAX_WAITING) yield* this.#readOne()
      this.#crew.check()
    }
  }

  /** Reads, on this thread, what waits for one. */
  *readWaiting(): Work<void> {
    while (this.#crew.waiting > 0) yield* this.#readOne()
  }

  /** Waits for the threads; true when something is left to read. */
  async more(signal: AbortSignal | undefined): Promise<boolean> {
    return await this.#crew.more(signal)
  }

  async close(): Promise<void> {
    await this.#crew.close()
    this.#scanner.close()
  }

  *#readOne(): Work<void> {
    const next = this.#crew.take()
    if (next !== undefined) this.#crew.finish(next, yield* this.#scanner.scan(next.batch))
    this.#crew.check()
  }

  #directory(fd: number): Directory {
    const stat = statDescriptor(fd)
    return {
      ...metadataOf(
        stat,
        this.#taken(() => xattrsOf(fd)),
      ),
      kind: 'directory',
      children: new Map(),
    }
  }

  /** @returns names of the directories in it */
  #list(fd: number, path: ByteString, into: Directory): ByteString[] {
    const directories: ByteString[] = []
    for (const { name, kind } of readDirectory(fd)) {
      // Some filesystems do not keep kinds with names.
      const known = kind ?? this.#kindOf(fd, name, path)
      if (known === 'file') this.#addFile(path, { into, name })
      else if (known === 'directory') directories.push(name)
      else into.children.set(name, this.#special(fd, name, path))
    }
    return directories
  }

  #kindOf(fd: number, name: ByteString, path: ByteString): FileKind {
    return named(pathOf(path, name), () => statAt(fd, name).kind)
  }

  #special(fd: number, name: ByteString, directory: ByteString): Inode {
    const path = pathOf(directory, name)
    return named(path, () => {
      const stat = statAt(fd, name)
      return this.#once(stat, () =>
        specialOf(
          stat,
          fd,
          name,
          path,
          this.#taken(() => xattrsAt(fd, name)),
        ),
      )
    })
  }

  #taken(read: () => Metadata['xattrs']): Metadata['xattrs'] {
    const { xattrs } = this.#settings
    return xattrs === 'none' ? NO_XATTRS : takenXattrs(read(), xattrs)
  }

  /** One inode for all names of a file. */
  #once(stat: Pick<FileStat, 'nlink' | 'device' | 'inode'>, make: () => NonDirectory): NonDirectory {
    if (stat.nlink < 2) return make()
    const identity = `${stat.device}:${stat.inode}`
    const known = this.#linked.get(identity) ?? make()
    this.#linked.set(identity, known)
    return known
  }

  #addFile(directory: ByteString, place: Place): void {
    this.#batch.add(directory, place)
    if (this.#batch.size === BATCH_FILES) this.#close()
  }

  #close(): void {
    if (this.#batch.size > 0) this.#crew.add(this.#batch.close())
    this.#batch = new OpenBatch()
  }

  #receive({ places }: CrewBatch<Place>, records: readonly FileRecord[]): void {
    for (const [i, record] of records.entries()) {
      const { into, name } = places[i]!
      into.children.set(
        name,
        record.stat.nlink < 2 ? fileOf(record) : this.#once(record.stat, () => fileOf(record)),
      )
      if (record.staged && record.content.kind === 'object') this.staged.push(record.content.digest)
    }
  }
}

/** A batch that files are added to. */
class OpenBatch {
  readonly #directories: ByteString[] = []
  readonly #directoryOf: number[] = []
  readonly #places: Place[] = []

  get size(): number {
    return this.#places.length
  }

  add(directory: ByteString, place: Place): void {
    if (this.#directories.at(-1) !== directory) this.#directories.push(directory)
    this.#directoryOf.push(this.#directories.length - 1)
    this.#places.push(place)
  }

  close(): CrewBatch<Place> {
    const places = this.#places
    return {
      batch: {
        directories: this.#directories,
        names: places.map(({ name }) => name),
        directoryOf: this.#directoryOf,
      },
      places,
    }
  }
}

function pathOf(directory: ByteString, name: ByteString): ByteString {
  return (directory === '' ? name : `${directory}/${name}`) as ByteString
}

function openListed(fd: number, name: ByteString, path: ByteString): number {
  return named(path, () => openDirectoryAt(fd, name))
}

/** What was listed a moment ago and is not there any more, or is something else, was changed. */
function named<T>(path: ByteString, read: () => T): T {
  try {
    return read()
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR', 'ELOOP')) throw sourceChanged(path, error)
    throw isErrno(error) ? withPath(error, path) : error
  }
}

function specialOf(
  stat: FileStat,
  directory: number,
  name: ByteString,
  path: ByteString,
  xattrs: Metadata['xattrs'],
): NonDirectory {
  const metadata = metadataOf(stat, xattrs)
  switch (stat.kind) {
    case 'symlink':
      return { ...metadata, kind: 'symlink', target: readLinkAt(directory, name) }
    case 'char':
    case 'block':
      return { ...metadata, kind: stat.kind, major: stat.major, minor: stat.minor }
    case 'fifo':
    case 'socket':
      return { ...metadata, kind: stat.kind }
    default:
      throw sourceChanged(path)
  }
}

function fileOf({ stat, content, xattrs }: FileRecord): RegularFile {
  const { mode, uid, gid, mtimeSeconds, mtimeNanoseconds, size } = stat
  return {
    kind: 'file',
    mode,
    uid,
    gid,
    mtimeSeconds,
    mtimeNanoseconds,
    xattrs,
    size,
    content: contentOf(content),
  }
}

function contentOf(content: FileRecord['content']): RegularFile['content'] {
  if (content.kind === 'empty') return NO_CONTENT
  if (content.kind === 'inline') return content
  // By SHA-512 it is longer than the type says; composefsFromTree hands it on as it is.
  return { kind: 'object', digest: content.digest as VerityDigest }
}

function metadataOf(
  { mode, uid, gid, mtimeSeconds, mtimeNanoseconds }: FileRecord['stat'],
  xattrs: Metadata['xattrs'],
): Metadata {
  return { mode, uid, gid, mtimeSeconds, mtimeNanoseconds, xattrs }
}
