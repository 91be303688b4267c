/**
 * Images of our own, small enough to be built and compared in every test run: all that layers can hold, in layers that
 * add, replace, hide and change the kind of what is below.
 *
 * Only what umoci reads too: what groot refuses or treats otherwise on purpose has tests of its own.
 */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { base256, LAYER_TIME, layer, type MemberOptions } from '../../lib/testkit/layer.js'
import type { OwnImage } from './layout.js'
import { findTool } from './tools.js'

export interface ComparedImage extends OwnImage {
  /** Directories that no layer names, as treeLines() writes their paths. */
  readonly implicit?: readonly string[]
}

const PATH = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
const CONFIG = { Env: [PATH], Cmd: ['sh'], WorkingDir: '/' }

/** The images that are compared entry by entry. */
export function comparedImages(): readonly ComparedImage[] {
  return [oddImage(), changesImage(), namesImage(), manyImage()]
}

/** A capability set as security.capability holds it: version 2, effective, cap_net_bind_service. */
const CAPABILITY = Buffer.from(`0100000200040000${'00'.repeat(12)}`, 'hex')
/** user::rw-, user:1000:r--, group::r--, mask::r--, other::r-- as system.posix_acl_access holds it. */
const ACL = Buffer.from(
  '0200000001000600ffffffff02000400e803000004000400ffffffff10000400ffffffff20000400ffffffff',
  'hex',
)

/** Every kind of entry and the rare sides of its metadata. */
function oddImage(): ComparedImage {
  const lower = layer()
    .dir('./', { mode: 0o755, mtime: LAYER_TIME - 10 })
    .dir('odd', { mtime: LAYER_TIME - 86_400, xattrs: { 'user.note': 'of a directory' } })
    .file('odd/capable', 'may bind low ports\n', {
      mode: 0o755,
      xattrs: { 'security.capability': CAPABILITY },
    })
    .file('odd/noted', 'attributes of users\n', {
      xattrs: { 'user.note': 'a value', 'user.binary': Buffer.from([0, 1, 0xff, 0x0a, 0x3d]) },
    })
    .file('odd/blank', 'an attribute without a value\n', { xattrs: { 'user.blank': '', 'user.other': 'x' } })
    .file('odd/trusted', 'attribute of the administrator\n', { xattrs: { 'trusted.note': 'kept' } })
    .symlink('odd/trusted-link', 'trusted', { xattrs: { 'trusted.note': 'of a symlink' } })
    .file('odd/acl', 'access list\n', { xattrs: { 'system.posix_acl_access': ACL } })
    .file('odd/long-value', 'a value of 2000 bytes\n', { xattrs: { 'user.long': 'v'.repeat(2000) } })
    .file('odd/setuid', 'set-user-id\n', { mode: 0o4755 })
    .file('odd/setuid-other', 'set-user-id of another owner\n', { mode: 0o4755, uid: 1000, gid: 1000 })
    .file('odd/setgid', 'set-group-id\n', { mode: 0o2755, gid: 50 })
    .dir('odd/setgid-dir', { mode: 0o2775, gid: 50 })
    .file('odd/setgid-dir/file', 'not of the group of its directory\n')
    .dir('odd/sticky', { mode: 0o1777 })
    .file('odd/unreadable', 'mode 000\n', { mode: 0 })
    .dir('odd/closed', { mode: 0 })
    .file('odd/closed/inside', 'below a closed directory\n')
    .file('odd/empty')
    .file('odd/one', '1')
    .file('odd/inline', 'x'.repeat(64))
    .file('odd/object', 'x'.repeat(65))
    .file('odd/zeroes', Buffer.alloc(1024 * 1024))
    .file('odd/big', bigContent())
    .fifo('odd/fifo', { mode: 0o620, uid: 3 })
    .char('odd/null', 1, 3, { mode: 0o666 })
    .char('odd/char-big', 4095, 1_048_575)
    .block('odd/block', 7, 200, { mode: 0o660, gid: 6 })
    .file('odd/big-id', 'ids beyond the fields of ustar\n', { uid: 3_000_000, gid: 3_000_001 })
    .file('odd/biggest-id', 'the last id there is\n', { uid: 4_294_967_294, gid: 4_294_967_294 })
    .file('odd/nobody', 'nobody\n', { uid: 65_534, gid: 65_534 })
    .dir('odd/owned', { uid: 1234, gid: 5678, mode: 0o750 })
    .symlink('odd/owned-link', 'owned', { uid: 1234, gid: 5678, mtime: LAYER_TIME + 7 })
  for (const [name, mtime, mtimeNanoseconds] of TIMES)
    lower.file(name, `${name}\n`, { mtime, mtimeNanoseconds })
  lower
    .dir('odd/time-dir', { mtime: LAYER_TIME + 1, mtimeNanoseconds: 1 })
    .file('odd/time-dir/later', 'written after the time of its directory\n')
    .symlink('odd/dangling', '/nowhere/at/all')
    .symlink('odd/outside', '../../../../etc/passwd')
    .symlink('odd/loop', 'loop')
    .symlink('odd/long-target', `/${'t'.repeat(1000)}`)
    .file('odd/first', 'three names\n', { mtimeNanoseconds: 5 })
    .hardlink('odd/second', 'odd/first')
    .hardlink('odd/third', 'odd/first')
    .hardlink('odd/link-of-link', 'odd/second')
    .hardlink('odd/fifo-link', 'odd/fifo')
    .hardlink('odd/null-link', 'odd/null')
    .hardlink('odd/symlink-link', 'odd/dangling')
    .sparse('odd/sparse-0.0', SPARSE, '0.0')
    .sparse('odd/sparse-0.1', SPARSE, '0.1')
    .sparse('odd/sparse-1.0', SPARSE, '1.0')
    .member({ name: 'odd/gnu-uid', magic: 'gnu', uid: base256(5_000_000n, 8), data: 'base-256\n' })
    .member({ name: 'odd/v7', magic: 'v7', type: '\0', mtime: LAYER_TIME, data: 'as tar was in 1979\n' })
    .member({ name: 'odd/prefixed', prefix: 'odd', mtime: LAYER_TIME, data: 'in odd/odd\n' })
  const upper = layer()
    .dir('odd', { xattrs: { 'user.note': 'replaced' } })
    .file('odd/first', 'one name now, the others keep the old data\n')
    .whiteout('odd/third')
    .hardlink('odd/new-link', 'odd/second')
    .file('odd/noted', 'without attributes now\n')
    .dir('odd/owned', { mode: 0o700 })
  return { name: 'odd', layers: [lower.build(), upper.build()], config: CONFIG, implicit: ['odd/odd'] }
}

const TIMES: readonly (readonly [string, number, number])[] = [
  ['odd/time-fraction', LAYER_TIME, 125_000_000],
  ['odd/time-nanoseconds', LAYER_TIME, 123_456_789],
  ['odd/time-one', LAYER_TIME, 1],
  ['odd/time-epoch', 0, 0],
  ['odd/time-before', -1000, 0],
  ['odd/time-before-fraction', -1000, 250_000_000],
  ['odd/time-2106', 4_294_967_296, 999_999_999],
  ['odd/time-2200', 7_258_118_400, 0],
]

const SPARSE = {
  size: 300_000,
  runs: [
    [0, 'the beginning'],
    [65_536, 'y'.repeat(5000)],
    [200_000, 'z'.repeat(100)],
    [299_990, 'the end...'],
  ],
} as const

/** Two megabytes that do not repeat. */
function bigContent(): Uint8Array {
  const bytes = Buffer.alloc(2 * 1024 * 1024 + 17)
  let state = 1
  for (let i = 0; i < bytes.length; i++) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0
    bytes[i] = state >>> 24
  }
  return bytes
}

/** Whiteouts, opaque directories, changes of kind, links in parents, directories that no layer names. */
function changesImage(): ComparedImage {
  const base = layer()
    .dir('etc')
    .file('etc/motd', 'welcome\n')
    .file('etc/keep', 'stays\n', { mtime: LAYER_TIME + 3, mtimeNanoseconds: 7 })
    .dir('gone')
    .dir('gone/deeper')
    .file('gone/deeper/file', 'x')
    .dir('opaque')
    .file('opaque/old', 'hidden\n')
    .dir('opaque/old-dir')
    .file('opaque/old-dir/file', 'hidden\n')
    .dir('half')
    .file('half/old', 'hidden\n')
    .dir('half/sub')
    .file('half/sub/old', 'stays: the marker stands elsewhere\n')
    .dir('back')
    .file('back/old', 'hidden and made again\n')
    .file('to-dir', 'a file\n')
    .dir('to-file', { mode: 0o700 })
    .file('to-file/inside', 'x')
    .dir('to-link')
    .file('to-link/inside', 'x')
    .symlink('from-link', 'etc')
    .symlink('link-to-file', 'etc/keep')
    .fifo('to-device')
    .dir('real')
    .file('real/here', 'x')
    .symlink('alias', 'real')
    .symlink('absolute', '/real')
    .dir('var')
    .symlink('var/run', '/run')
    .dir('run')
    .file('twin-a', 'twins\n')
    .hardlink('twin-b', 'twin-a')
    .file('triple-a', 'triplets\n')
    .hardlink('triple-b', 'triple-a')
    .hardlink('triple-c', 'triple-a')
    .file('implicit/one/two/file', 'no layer names its directories\n')
  const middle = layer()
    .whiteout('etc/motd')
    .whiteout('etc/never-there')
    .whiteout('gone')
    .dir('opaque', { mode: 0o711, mtime: LAYER_TIME + 50 })
    .file('opaque/before-the-marker', 'stays: same layer\n')
    .opaque('opaque')
    .file('opaque/after-the-marker', 'stays too\n')
    .whiteout('half/old')
    .file('half/new', 'new\n')
    .whiteout('back')
    .dir('back', { mode: 0o700 })
    .file('back/new', 'new\n')
    .dir('to-dir')
    .file('to-dir/inside', 'was a file\n')
    .file('to-file', 'was a directory\n')
    .symlink('to-link', 'etc')
    .dir('from-link')
    .file('from-link/inside', 'in a directory, not in etc\n')
    .file('link-to-file', 'etc/keep is not written through\n')
    .char('to-device', 1, 5, { mode: 0o640 })
    .file('alias/through', 'arrives in real\n')
    .file('absolute/through-too', 'arrives in real\n')
    .file('var/run/pid', '1\n')
    .whiteout('twin-a')
    .file('triple-b', 'left the others\n')
    .hardlink('late', 'triple-c')
  const top = layer()
    .whiteout('var/run/pid')
    .file('gone', 'a file now\n')
    .dir('opaque')
    .opaque('opaque/never-there')
    .whiteout('implicit/one/two/file')
    .file('implicit/one/three', 'three\n')
    .dir('to-file')
    .file('to-dir', 'a file again\n')
    .hardlink('etc/linked', 'from-link/inside')
  return {
    name: 'changes',
    layers: [base.build(), middle.build(), top.build()],
    config: CONFIG,
    implicit: ['.', 'implicit', 'implicit/one', 'implicit/one/two'],
  }
}

/** Names that break programs which take them for text, options or patterns. */
function namesImage(): ComparedImage {
  const at: MemberOptions = { mtime: LAYER_TIME + 1 }
  const built = layer()
    .dir('names')
    .file('names/späße-日本-🌱', 'utf-8\n', at)
    .file(Buffer.from('names/\xff\xfe\x80', 'latin1'), 'not utf-8\n', at)
    .file(Buffer.from('names/caf\xe9', 'latin1'), 'latin-1\n', at)
    .symlink('names/link-to-latin', Buffer.from('caf\xe9', 'latin1'))
    .file('names/ leading blank\ttab\nnewline', 'control characters\n')
    .file('names/\x01\x7f\x1b[31m', 'more of them\n')
    .file('names/back\\slash', 'a backslash\n')
    .file('names/-rf', 'an option\n')
    .file('names/*', 'a pattern\n')
    .file('names/$(reboot)', 'a command\n')
    .file('names/...', 'three dots\n')
    .file('names/.wh', 'only looks like a whiteout\n')
    .file('names/wh.x', 'this too\n')
    .file('names/trailing ', 'a blank at the end\n')
    .file(`names/${'n'.repeat(255)}`, 'longest name\n')
    .file('./names/./dotted', 'dots in the way\n')
    .file('/names/absolute', 'a slash in front\n')
    .file('names//doubled', 'two slashes\n')
    .dir('names/slashed/')
    .file('names/slashed/inside', 'x')
    .long('L', `names/${'gnu-'.repeat(40)}long`)
    .member({ name: 'names/gnu-short', magic: 'gnu', mtime: LAYER_TIME, data: 'a long name of GNU\n' })
    .long('K', `/${'gnu-target-'.repeat(40)}`)
    .member({ name: 'names/gnu-link', type: '2', magic: 'gnu', link: 'short', mtime: LAYER_TIME })
  let deep = 'names'
  for (let i = 0; i < 20; i++) {
    deep += `/${'d'.repeat(40)}${i}`
    built.dir(deep, { mtime: LAYER_TIME + i })
  }
  built
    .file(`${deep}/bottom`, 'a path of about 900 bytes\n')
    .hardlink('names/of-the-bottom', `${deep}/bottom`)
  return { name: 'names', layers: [built.build()], config: CONFIG }
}

/** Many small layers, each of which adds, replaces and hides. */
function manyImage(): ComparedImage {
  const layers = Array.from({ length: 70 }, (_, i) => {
    const built = layer()
      .dir('data', { mtime: LAYER_TIME + i })
      .file('data/latest', `${i}\n`, { mtime: LAYER_TIME + i })
      .dir(`data/l${i}`)
    for (let k = 0; k < 6; k++) built.file(`data/l${i}/f${k}`, `${i}-${k} `.repeat(30 * k))
    if (i % 4 === 3) built.whiteout(`data/l${i - 2}/f3`)
    if (i % 10 === 9) built.whiteout(`data/l${i - 5}`)
    if (i % 15 === 14) built.opaque(`data/l${i - 1}`).file(`data/l${i - 1}/new`, `${i}\n`)
    if (i % 7 === 6) built.hardlink(`data/linked-${i}`, `data/l${i - 1}/f5`)
    return built.build()
  })
  return { name: 'many', layers, config: CONFIG }
}

export const SHELL_USER = { name: 'keeper', uid: 1234, gid: 4321 } as const

/** An image that runs: busybox with its applets, and one that runs as a user of its own passwd file. */
export function shellImages(): readonly OwnImage[] {
  const busybox = findTool('busybox')
  if (busybox === null) throw new Error('busybox is not installed')
  const applets = execFileSync(busybox, ['--list'], { encoding: 'utf8' }).split('\n')
  const base = layer()
  for (const name of ['bin', 'dev', 'etc', 'home', 'proc', 'sys', 'var']) base.dir(name)
  base.dir('root', { mode: 0o700 }).dir('tmp', { mode: 0o1777 })
  base.file('bin/busybox', readFileSync(busybox), { mode: 0o755 })
  for (const name of applets) if (name !== '' && name !== 'busybox') base.symlink(`bin/${name}`, 'busybox')
  base
    .file('etc/passwd', 'root:x:0:0:root:/root:/bin/sh\n')
    .file('etc/group', 'root:x:0:\n')
    .file('etc/greeting', 'hello from the image\n')
  const { name, uid, gid } = SHELL_USER
  const upper = layer()
    .file('etc/passwd', `root:x:0:0:root:/root:/bin/sh\n${name}:x:${uid}:${gid}::/home/${name}:/bin/sh\n`)
    .file('etc/group', `root:x:0:\n${name}:x:${gid}:\n`)
    .dir(`home/${name}`, { uid, gid, mode: 0o700 })
    .file(`home/${name}/mine`, 'mine\n', { uid, gid, mode: 0o600 })
  return [
    { name: 'shell', layers: [base.build()], config: { ...CONFIG, Cmd: ['cat', '/etc/greeting'] } },
    {
      name: 'user',
      layers: [base.build(), upper.build()],
      config: {
        ...CONFIG,
        User: name,
        WorkingDir: `/home/${name}`,
        Entrypoint: ['sh', '-c'],
        Cmd: ['id -u; id -g; pwd; cat mine'],
      },
    },
    {
      name: 'writer',
      layers: [base.build()],
      config: { ...CONFIG, Cmd: ['sh', '-c', 'echo new > /made && cat /made || echo refused'] },
    },
  ]
}
