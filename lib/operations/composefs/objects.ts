/**
 * composefs-info objects and missing-objects: which files of an object directory images need.
 */
import { lstatSync, type Stats, statSync } from 'node:fs'
import { type ByteString, toBytes } from '../../bytes.js'
import { type ComposefsNode, isBacked } from '../../composefs/node.js'
import { isErrno, NotFoundError, toGrootError, UsageError } from '../../errors.js'
import type { FilterImages, MissingObjectsRequest } from './api.js'
import { escaped } from './escape.js'
import { shown } from './input.js'
import { walk } from './list.js'
import { readRoots } from './read-image.js'

export async function objectsOfImages(request: FilterImages): Promise<string[]> {
  return (await payloadsOf(request)).map(escaped)
}

/**
 * @throws {NotFoundError} `file-missing` when the directory of objects is not there
 * @throws {UsageError} `usage-invalid` when it is none
 */
export async function missingObjects(request: MissingObjectsRequest): Promise<string[]> {
  const finder = new ObjectFinder(request.basedir)
  return (await payloadsOf(request)).filter((payload) => !finder.has(payload)).map(escaped)
}

async function payloadsOf(request: FilterImages): Promise<ByteString[]> {
  const payloads = new Set<ByteString>()
  for (const { root } of await readRoots(request)) {
    for (const { entry } of walk(root)) {
      const payload = payloadOf(entry.kind === 'link' ? entry.target : entry)
      if (payload !== null) payloads.add(payload)
    }
  }
  return [...payloads].sort()
}

function payloadOf(node: ComposefsNode): ByteString | null {
  return isBacked(node) && node.payload !== '' ? node.payload : null
}

/**
 * Looks for objects as overlayfs does in a data-only layer: a regular file below the directory, reached without symlinks
 * and without "..".
 */
class ObjectFinder {
  readonly #basedir: string
  readonly #directories = new Map<string, boolean>()

  constructor(basedir: string) {
    this.#basedir = basedir
    let stats: Stats
    try {
      stats = statSync(basedir)
    } catch (error) {
      if (!isErrno(error, 'ENOENT', 'ENOTDIR'))
        throw toGrootError(error, `Cannot look into ${shown(basedir)}`)
      const message = `Cannot look into ${shown(basedir)}: there is no such directory`
      throw new NotFoundError('file-missing', message, { facts: { path: basedir }, cause: error })
    }
    if (stats.isDirectory()) return
    const message = `Cannot look into ${shown(basedir)}: it is no directory`
    throw new UsageError('usage-invalid', message, { facts: { path: basedir } })
  }

  has(payload: ByteString): boolean {
    const names = payload.split('/').filter((name) => name !== '' && name !== '.') as ByteString[]
    if (names.length === 0 || names.includes('..' as ByteString)) return false
    const directory = names.slice(0, -1).join('/')
    return this.#isDirectory(directory) && this.#stats(names.join('/'))?.isFile() === true
  }

  /** Whether all of the path are directories; remembered, for there are many objects in each. */
  #isDirectory(path: string): boolean {
    if (path === '') return true
    let found = this.#directories.get(path)
    if (found === undefined) {
      const above = path.slice(0, Math.max(path.lastIndexOf('/'), 0))
      found = this.#isDirectory(above) && this.#stats(path)?.isDirectory() === true
      this.#directories.set(path, found)
    }
    return found
  }

  #stats(path: string): Stats | null {
    const bytes = Buffer.concat([Buffer.from(`${this.#basedir}/`), toBytes(path as ByteString)])
    try {
      return lstatSync(bytes)
    } catch (error) {
      if (isErrno(error, 'ENOENT', 'ENOTDIR', 'ENAMETOOLONG')) return null
      throw toGrootError(error, `Cannot look into ${shown(this.#basedir)}`)
    }
  }
}
