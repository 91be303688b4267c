import { execFileSync } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { describe, expect, it } from 'vitest'
import { type ByteString, byteString } from '../../../lib/bytes.js'
import { pathString } from '../../../lib/linux/c-string.js'
import { DirectoryChain } from '../../../lib/linux/directory-chain.js'
import { makeDirectoryAt, makeNodeAt, openDirectory, openDirectoryAt } from '../../../lib/linux/files.js'
import { removeTree, removeTreeInSlices } from '../../../lib/linux/remove-tree.js'
import { isRoot, openBelow, rejectionOf, thrownBy, useScratch, withoutPrivileges } from './scratch.js'

const scratch = useScratch()

/** Directories below one another, as deep as one likes. */
function makeDeep(path: string, levels: number, name = 'd'): void {
  mkdirSync(path)
  using chain = new DirectoryChain(openDirectory(pathString(path)))
  for (let i = 0; i < levels; i++) {
    makeDirectoryAt(chain.fd, name as ByteString, 0o700)
    chain.enter(name as ByteString, openDirectoryAt(chain.fd, name as ByteString))
  }
  makeNodeAt(chain.fd, byteString('last'), 'fifo', 0o600)
}

describe('removing a tree', () => {
  it('removes all kinds of files with any names, and follows no symlink', () => {
    const [tree, outside] = [`${scratch.path}/tree`, `${scratch.path}/outside`]
    mkdirSync(`${tree}/a/b/c`, { recursive: true })
    mkdirSync(outside)
    writeFileSync(`${outside}/kept`, 'kept')
    writeFileSync(`${tree}/a/b/f`, 'x')
    writeFileSync(Buffer.from(`${tree}/a/\xff\n`, 'latin1'), 'x')
    mkdirSync(`${tree}/${'x'.repeat(255)}`)
    symlinkSync(outside, `${tree}/a/out`)
    symlinkSync('../../outside', `${tree}/out`)
    symlinkSync('/', `${tree}/a/b/c/root`)
    execFileSync('mkfifo', [`${tree}/a/fifo`])
    removeTree(tree)
    expect(readdirSync(scratch.path)).toEqual(['outside'])
    expect(readFileSync(`${outside}/kept`, 'utf8')).toBe('kept')
    expect(openBelow(scratch.path)).toEqual([])
  })

  it('takes what is not there for removed, and a file or symlink for a tree', () => {
    removeTree(`${scratch.path}/none`)
    removeTree(`${scratch.path}/none/below`)
    writeFileSync(`${scratch.path}/f`, '')
    removeTree(`${scratch.path}/f/below`)
    symlinkSync('f', `${scratch.path}/link`)
    removeTree(`${scratch.path}/link`)
    expect(readdirSync(scratch.path)).toEqual(['f'])
    removeTree(`${scratch.path}/f/`)
    removeTree(`${scratch.path}/f`)
    expect(readdirSync(scratch.path)).toEqual([])
  })

  it.each(['', '/'])('refuses %j, which is no name in a directory', (path) => {
    expect(thrownBy(() => removeTree(path))).toMatchObject({ code: 'bug' })
  })

  it('goes deeper than a path can name, with few descriptors', () => {
    makeDeep(`${scratch.path}/deep`, 3000, 'd'.repeat(50))
    let most = 0
    const work = removeTreeInSlices(`${scratch.path}/deep`)
    const look = setInterval(() => {
      most = Math.max(most, openBelow(scratch.path).length)
    }, 0)
    return work
      .finally(() => clearInterval(look))
      .then(() => {
        expect(readdirSync(scratch.path)).toEqual([])
        expect(most).toBeLessThan(80)
      })
  })

  it('removes more files and directories than it remembers at once', () => {
    const tree = `${scratch.path}/tree`
    mkdirSync(tree)
    for (let i = 0; i < 4200; i++) mkdirSync(`${tree}/directory-${i}`)
    for (let i = 0; i < 2000; i++) writeFileSync(`${tree}/file-${i}`, '')
    removeTree(tree)
    expect(existsSync(tree)).toBe(false)
  })

  it.each(['000', '500', '300', '400'])(
    'opens up directories of mode %s without privileges',
    async (mode) => {
      chmodSync(scratch.path, 0o755)
      const place = mkdtempSync(`${scratch.path}/own-`)
      if (isRoot) chownSync(place, 65534, 65534)
      await withoutPrivileges(() => {
        mkdirSync(`${place}/tree/closed/inner/closed`, { recursive: true })
        writeFileSync(`${place}/tree/closed/inner/closed/f`, '', { mode: 0 })
        for (const path of ['tree/closed/inner/closed', 'tree/closed', 'tree'])
          chmodSync(`${place}/${path}`, Number.parseInt(mode, 8))
        removeTree(`${place}/tree`)
        expect(readdirSync(place)).toEqual([])
      })
    },
  )

  it.skipIf(!isRoot)('names what it may not remove (needs root, to become another)', async () => {
    chmodSync(scratch.path, 0o755)
    mkdirSync(`${scratch.path}/tree/theirs`, { recursive: true })
    writeFileSync(`${scratch.path}/tree/theirs/file`, '')
    await withoutPrivileges(() => {
      expect(thrownBy(() => removeTree(`${scratch.path}/tree`))).toMatchObject({
        code: 'EACCES',
        syscall: 'unlinkat',
        path: `${scratch.path}/tree/theirs/file`,
      })
    })
    expect(openBelow(scratch.path)).toEqual([])
  })

  it('stops when it is aborted, and can go on later', async () => {
    const tree = `${scratch.path}/tree`
    mkdirSync(tree)
    for (let i = 0; i < 5000; i++) writeFileSync(`${tree}/${i}`, '')
    const abort = new AbortController()
    const work = removeTreeInSlices(tree, abort.signal)
    setImmediate(() => abort.abort())
    expect(await rejectionOf(work)).toMatchObject({ code: 'aborted' })
    expect(openBelow(scratch.path)).toEqual([])
    expect(readdirSync(tree).length).toBeGreaterThan(0)
    await removeTreeInSlices(tree)
    expect(existsSync(tree)).toBe(false)
  })

  it('copes with two that remove the same', async () => {
    const tree = `${scratch.path}/tree`
    for (let i = 0; i < 300; i++) {
      mkdirSync(`${tree}/${i}/sub`, { recursive: true })
      writeFileSync(`${tree}/${i}/sub/f`, '')
    }
    await Promise.all([removeTreeInSlices(tree), removeTreeInSlices(tree), removeTreeInSlices(`${tree}/7`)])
    expect(existsSync(tree)).toBe(false)
  })
})

describe('removing a tree with a mount in it (needs root)', () => {
  /** Mounts a tmpfs that holds one file, for as long as the action takes. */
  function withMount(at: string, action: () => void): void {
    execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', at])
    try {
      writeFileSync(`${at}/kept`, 'kept')
      action()
      expect(readFileSync(`${at}/kept`, 'utf8')).toBe('kept')
    } finally {
      execFileSync('umount', [at])
    }
  }

  it.skipIf(!isRoot)('refuses before anything is removed, names the mount, and works once it is gone', () => {
    const tree = `${scratch.path}/tree with blank`
    mkdirSync(`${tree}/a/mount`, { recursive: true })
    writeFileSync(`${tree}/first`, '')
    withMount(`${tree}/a/mount`, () => {
      expect(thrownBy(() => removeTree(tree))).toMatchObject({
        kind: 'busy',
        code: 'mount-busy',
        temporary: true,
        facts: { path: tree, mount: `${tree}/a/mount` },
      })
      expect(readdirSync(tree).sort()).toEqual(['a', 'first'])
    })
    removeTree(tree)
    expect(existsSync(tree)).toBe(false)
  })

  it.skipIf(!isRoot)('refuses a tree that is a mount point itself', () => {
    mkdirSync(`${scratch.path}/tree`)
    withMount(`${scratch.path}/tree`, () => {
      expect(thrownBy(() => removeTree(`${scratch.path}/tree`))).toMatchObject({
        code: 'mount-busy',
        facts: { mount: `${scratch.path}/tree` },
      })
    })
  })

  it.skipIf(!isRoot)('refuses files that something is mounted on', () => {
    mkdirSync(`${scratch.path}/tree`)
    writeFileSync(`${scratch.path}/tree/f`, '')
    writeFileSync(`${scratch.path}/source`, 'source')
    execFileSync('mount', ['--bind', `${scratch.path}/source`, `${scratch.path}/tree/f`])
    try {
      expect(thrownBy(() => removeTree(`${scratch.path}/tree`))).toMatchObject({
        code: 'mount-busy',
        facts: { mount: `${scratch.path}/tree/f` },
      })
    } finally {
      execFileSync('umount', [`${scratch.path}/tree/f`])
    }
    expect(readFileSync(`${scratch.path}/source`, 'utf8')).toBe('source')
  })

  it.skipIf(!isRoot)('does not enter a mount that comes while it works', () => {
    const tree = `${scratch.path}/tree`
    mkdirSync(`${tree}/mount`, { recursive: true })
    for (let i = 0; i < 3000; i++) writeFileSync(`${tree}/${i}`, '')
    const abort = new AbortController()
    const work = rejectionOf(removeTreeInSlices(tree, abort.signal))
    execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', `${tree}/mount`])
    writeFileSync(`${tree}/mount/kept`, 'kept')
    return work
      .then((error) => {
        expect(error).toMatchObject({ code: 'mount-busy', facts: { mount: `${tree}/mount` } })
        expect(lstatSync(`${tree}/mount/kept`).size).toBe(4)
      })
      .finally(() => execFileSync('umount', [`${tree}/mount`]))
  })
})
