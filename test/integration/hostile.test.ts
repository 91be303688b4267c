/**
 * Images made of hostile layers, through the whole of groot: nothing outside is touched, nothing is left behind, and the
 * message says which entry and why. One block for each rule of docs/security.md, "Layers".
 */
import { execFileSync } from 'node:child_process'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type GrootEvent, type GrootStore, openStore } from '../../lib/index.js'
import { type LayerBuilder, layer, paxBody } from '../../lib/testkit/layer.js'
import { treeLines } from '../../lib/testkit/tree-lines.js'
import { writeLayout } from '../images/layout.js'
import { onFilesystemOf } from '../support/btrfs.js'
import { DRIVERS, removeScratch } from '../support/mounts.js'

describe.each(DRIVERS)('with the driver %s', (driver) => {
  onFilesystemOf(driver)
  let directory: string
  let outside: string
  let store: GrootStore
  const events: GrootEvent[] = []

  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), 'groot-hostile-'))
    outside = `${directory}/outside`
    mkdirSync(outside)
    writeFileSync(`${outside}/secret`, 'secret')
    store = await openStore({ path: `${directory}/store`, driver, thread: 'caller' })
  })
  afterAll(async () => {
    await store.close()
    removeScratch(directory)
  })

  let count = 0

  async function create(layers: readonly (LayerBuilder | Uint8Array)[], limits = {}): Promise<string> {
    const name = `image${++count}`
    const tars = layers.map((each) => (each instanceof Uint8Array ? each : each.build()))
    writeLayout(`${directory}/${name}`, [{ name, layers: tars, config: {} }], ['gzip'])
    events.length = 0
    const { rootfs } = await store.create({
      image: `oci:${directory}/${name}`,
      id: name,
      ignoreOwnership: process.geteuid?.() !== 0,
      limits,
      onEvent: (event) => void events.push(event),
    })
    return rootfs
  }

  /** `path kind [target]` of every entry but the root. */
  function shape(rootfs: string): string[] {
    return treeLines(rootfs)
      .slice(1)
      .map((line) => {
        const [path, kind, , , , , , target, linkTo] = line.split(' ')
        return [path, kind, target === '-' ? linkTo : target].filter((part) => part !== '-').join(' ')
      })
  }

  async function expectTree(
    layers: readonly (LayerBuilder | Uint8Array)[],
    expected: readonly string[],
  ): Promise<void> {
    const rootfs = await create(layers)
    expect(shape(rootfs)).toEqual(expected)
    expectOutsideUntouched()
  }

  async function expectRefused(
    layers: readonly (LayerBuilder | Uint8Array)[],
    code: string,
    entry: string | null,
    limits = {},
  ): Promise<void> {
    const before = stored()
    const error = await create(layers, limits).then(
      () => null,
      (thrown) => thrown,
    )
    expect(error).toMatchObject({ code, exitStatus: code.endsWith('mismatch') ? 16 : 17 })
    if (entry !== null) {
      expect(error.facts.entry).toBe(entry)
      expect(error.message).toContain(entry)
    }
    expect(error.message).not.toMatch(/[\x00-\x1f]/)
    expect(stored()).toEqual(before)
    expectOutsideUntouched()
  }

  function expectOutsideUntouched(): void {
    expect(readdirSync(outside)).toEqual(['secret'])
    expect(readFileSync(`${outside}/secret`, 'utf8')).toBe('secret')
    expect(statSync(`${outside}/secret`).mode & 0o7777).toBe(0o644)
    expect(existsSync('/groot-was-here')).toBe(false)
  }

  /** What a failed create must leave as it was; layers that were verified before the bad one may stay. */
  function stored(): unknown {
    const list = (name: string) => readdirSync(`${directory}/store/${name}`)
    return {
      bundles: list('bundles'),
      records: list('records'),
      leases: list('leases'),
      staging: list('staging'),
      trash: list('trash'),
    }
  }

  describe('rule 1: names are bytes', () => {
    it('keeps names that differ in one byte apart, also where neither is text', async () => {
      const a = Buffer.from([0x66, 0xff])
      const b = Buffer.from([0x66, 0xfe])
      await expectTree([layer().file(a, 'a').file(b, 'b')], ['f\\xfe file', 'f\\xff file'])
    })

    it('keeps two forms of one letter apart', async () => {
      await expectTree([layer().file('e\u0301', '1').file('\u00e9', '2')], ['e\u0301 file', '\u00e9 file'])
    })

    it('refuses NUL', async () => {
      await expectRefused(
        [
          layer()
            .pax([['path', 'a\0b']])
            .file('x'),
        ],
        'tar-invalid',
        null,
      )
    })
  })

  describe('rule 2: names are cleaned, and .. never leaves the root', () => {
    it('clamps absolute and climbing names', async () => {
      const hostile = layer()
        .file('/abs', '1')
        .file('../../up', '2')
        .file('a/../../../b', '3')
        .file('.//c//./d', '4')
        .file('../../../groot-was-here', '5')
      await expectTree(
        [hostile],
        ['abs file', 'b file', 'c directory', 'c/d file', 'groot-was-here file', 'up file'],
      )
    })

    it('refuses names that no filesystem has', async () => {
      await expectRefused([layer().file('n'.repeat(256))], 'entry-refused', 'n'.repeat(256))
      await expectRefused([layer().file(`${'d/'.repeat(2100)}x`)], 'entry-refused', null)
    })
  })

  describe('rule 3: symlinks in parents stay inside', () => {
    it('follows absolute and climbing ones as if the rootfs were /', async () => {
      const hostile = layer()
        .symlink('abs', outside)
        .file('abs/planted', 'x')
        .symlink('climb', '../../../../../../../..')
        .file('climb/planted', 'y')
      const rootfs = await create([hostile])
      expectOutsideUntouched()
      expect(readFileSync(`${rootfs}${outside}/planted`, 'utf8')).toBe('x')
      expect(readFileSync(`${rootfs}/planted`, 'utf8')).toBe('y')
    })

    it('follows them over layers', async () => {
      const rootfs = await create([
        layer().symlink('way', outside),
        layer().file('way/planted', 'x').whiteout('way/secret'),
      ])
      expectOutsideUntouched()
      expect(readFileSync(`${rootfs}${outside}/planted`, 'utf8')).toBe('x')
    })

    it('refuses circles', async () => {
      await expectRefused([layer().symlink('a', 'b').symlink('b', 'a').file('a/x')], 'layer-invalid', 'a/x')
    })
  })

  describe('rule 4: nothing is remembered of directories', () => {
    it('sees that a directory became a symlink between two entries', async () => {
      const hostile = layer().dir('d').file('d/first', '1').symlink('d', outside).file('d/planted', '2')
      const rootfs = await create([hostile])
      expectOutsideUntouched()
      expect(readFileSync(`${rootfs}${outside}/planted`, 'utf8')).toBe('2')
    })

    it('sees it when names differ in case or normal form only', async () => {
      const hostile = layer()
        .dir('D')
        .symlink('d', outside)
        .file('D/x', '1')
        .dir('e\u0301')
        .symlink('\u00e9', outside)
        .file('e\u0301/y', '2')
      await expectTree(
        [hostile],
        [
          'D directory',
          'D/x file',
          `d symlink ${outside}`,
          'e\u0301 directory',
          'e\u0301/y file',
          `\u00e9 symlink ${outside}`,
        ],
      )
    })
  })

  describe('rule 5: the last component is never followed', () => {
    it('replaces a symlink with a file, a directory or a device, and leaves its target', async () => {
      const links = layer()
        .symlink('f', `${outside}/secret`)
        .symlink('d', outside)
        .symlink('m', `${outside}/secret`)
      await expectTree(
        [links, layer().file('f', 'new').dir('d').fifo('m')],
        ['d directory', 'f file', 'm fifo'],
      )
    })

    it('sets modes, owners and times of links themselves', async () => {
      await expectTree(
        [layer().symlink('l', `${outside}/secret`, { mode: 0o777, mtime: 1 })],
        [`l symlink ${outside}/secret`],
      )
    })
  })

  describe('rule 6: symlink texts are verbatim', () => {
    it('keeps absolute, climbing and dangling ones', async () => {
      await expectTree(
        [layer().symlink('a', '/etc/shadow').symlink('b', '../../../x').symlink('c', 'no//where/./')],
        ['a symlink /etc/shadow', 'b symlink ../../../x', 'c symlink no//where/./'],
      )
    })

    it('refuses an empty one', async () => {
      await expectRefused([layer().symlink('l', '')], 'entry-refused', 'l')
    })
  })

  describe('rule 7: hard links stay inside', () => {
    it('resolves targets inside the root', async () => {
      await expectRefused([layer().hardlink('stolen', `${outside}/secret`)], 'layer-invalid', 'stolen')
      await expectRefused(
        [layer().hardlink('stolen', '../../../../../../etc/passwd')],
        'layer-invalid',
        'stolen',
      )
      await expectRefused(
        [layer().symlink('way', outside).hardlink('stolen', 'way/secret')],
        'layer-invalid',
        'stolen',
      )
    })

    it('does not follow the last component of a target', async () => {
      await expectTree(
        [layer().symlink('s', `${outside}/secret`).hardlink('h', 's')],
        [`h symlink ${outside}/secret`, `s symlink h`].map((line, i) =>
          i === 0 ? line : `s symlink ${outside}/secret`,
        ),
      )
    })

    it('refuses links to directories, to nothing and to themselves', async () => {
      await expectRefused([layer().dir('d').hardlink('h', 'd')], 'layer-invalid', 'h')
      await expectRefused([layer().hardlink('h', 'nothing')], 'layer-invalid', 'h')
      await expectRefused([layer().hardlink('h', 'h')], 'layer-invalid', 'h')
    })
  })

  describe('rule 8: the root is a directory, whiteouts name something', () => {
    it('refuses another kind of root', async () => {
      await expectRefused([layer().symlink('./', outside)], 'entry-refused', null)
      await expectRefused([layer().file('..', 'x')], 'entry-refused', null)
    })

    it.each(['.wh.', '.wh..', '.wh...', 'd/.wh.'])('refuses the whiteout %j', async (name) => {
      await expectRefused([layer().dir('d').file(name)], 'entry-refused', name)
    })
  })

  describe('rule 9: times of directories are the last thing', () => {
    it('keeps them exact when entries come later', async () => {
      const rootfs = await create([
        layer().dir('d', { mtime: 1000 }).file('d/a', 'a').dir('d/e', { mtime: 2000 }).file('d/e/f', 'f'),
      ])
      expect(statSync(`${rootfs}/d`).mtimeMs).toBe(1_000_000)
      expect(statSync(`${rootfs}/d/e`).mtimeMs).toBe(2_000_000)
    })
  })

  describe('rule 10: whiteouts touch lower layers only', () => {
    it('keeps what the same layer wrote, in any order, and makes no marker files', async () => {
      const lower = layer().dir('d').file('d/old').file('gone').dir('o').file('o/old')
      const upper = layer().whiteout('d/new').file('d/new').whiteout('gone').file('o/new').opaque('o')
      await expectTree(
        [lower, upper],
        ['d directory', 'd/new file', 'd/old file', 'o directory', 'o/new file'],
      )
    })

    it('does not reach outside through a symlink', async () => {
      await expectTree(
        [layer().symlink('way', outside), layer().whiteout('way/secret').opaque('way')],
        [`way symlink ${outside}`],
      )
    })
  })

  describe('rule 11: layers do not speak the language of storage drivers', () => {
    it('escapes overlay attributes, so that only the container sees them', async () => {
      const rootfs = await create([
        layer().file('secret', Buffer.alloc(5000, 'secret')),
        layer()
          .dir('d', { xattrs: { 'user.overlay.opaque': 'y', 'user.kept': 'yes' } })
          .file('d/lower', 'x')
          .file('f', 'x', { xattrs: { 'trusted.overlay.redirect': '/secret' } })
          .file('g', '', { xattrs: { 'trusted.overlay.metacopy': '' } }),
      ])
      const lines = treeLines(rootfs).join('\n')
      expect(readFileSync(`${rootfs}/f`, 'utf8')).toBe('x')
      expect(readFileSync(`${rootfs}/g`, 'utf8')).toBe('')
      expect(lines).toContain('user.kept=yes')
      if (process.geteuid?.() !== 0) return
      // In a directory of its own they stand escaped, as any directory may become a layer; an overlay shows what was meant.
      const prefix = driver === 'overlay' ? 'overlay' : 'overlay.overlay'
      expect(lines).toContain(`trusted.${prefix}.redirect=/secret`)
      expect(lines).toContain(`trusted.${prefix}.metacopy=`)
      expect(lines).toContain(`user.${prefix}.opaque=y`)
    })
  })

  describe('rule 12: extended attributes are an allow list', () => {
    it('drops labels and seals of other machines', async () => {
      const rootfs = await create([
        layer().file('f', 'x', {
          xattrs: { 'security.selinux': 'a', 'security.ima': 'b', 'security.evm': 'c', 'odd.name': 'd' },
        }),
      ])
      expect(treeLines(rootfs).at(-1)).not.toMatch(/security|odd/)
    })
  })

  describe('rule 13: numbers are checked, none wraps', () => {
    it.each([
      ['uid 2^32', { uid: 2n ** 32n }],
      ['uid 2^32 - 1, which means "keep"', { uid: 4294967295n }],
      ['gid 2^40', { gid: 2n ** 40n }],
      ['a negative size', { size: -1n }],
      ['a size of 2^63', { size: 2n ** 62n }],
      ['an unreadable size', { size: '12x45' }],
      ['an unreadable mode', { mode: 'rwxr-xr' }],
      ['a wrong checksum', { checksum: 1 }],
    ] as const)('refuses %s', async (_, fields) => {
      await expectRefused([layer().member({ name: 'bad', ...fields })], 'tar-invalid', 'bad')
    })

    it('applies PAX fields to the file and not to a long name between', async () => {
      const name = 'long'.repeat(40)
      const tar = layer()
        .pax([
          ['size', '3'],
          ['mtime', '7'],
        ])
        .long('L', name)
        .member({ name: 'ustar', size: 0, data: 'xyz' })
      const rootfs = await create([tar])
      expect(shape(rootfs)).toEqual([`${name} file`])
      expect(readFileSync(`${rootfs}/${name}`, 'utf8')).toBe('xyz')
      expect(statSync(`${rootfs}/${name}`).mtimeMs).toBe(7000)
    })

    it('refuses a member with two names, which readers would choose between in different ways', async () => {
      const tar = layer()
        .pax([['path', 'one']])
        .long('L', 'two'.repeat(40))
        .member({ name: 'three' })
      await expectRefused([tar], 'tar-invalid', 'one')
    })
  })

  describe('rule 14: links, directories and devices have no data', () => {
    it.each(['1', '2', '5', '6'])('reads on behind a member of type %s that claims some', async (type) => {
      const tar = layer()
        .file('t', 't')
        .member({ name: 'x', type, link: 't', size: 4096, padding: '' })
        .file('after', 'a')
      const rootfs = await create([tar])
      expect(shape(rootfs).some((line) => line.startsWith('after file'))).toBe(true)
    })
  })

  describe('rule 15: everything has a cap', () => {
    it('refuses headers of more than a mebibyte', async () => {
      await expectRefused(
        [
          layer()
            .member({ name: 'pax', type: 'x', data: paxBody([['comment', 'c'.repeat(1100 * 1024)]]) })
            .file('f'),
        ],
        'limit-exceeded',
        null,
      )
      await expectRefused(
        [
          layer()
            .member({ name: 'l', type: 'L', magic: 'gnu', data: 'n'.repeat(1100 * 1024) })
            .file('f'),
        ],
        'limit-exceeded',
        null,
      )
    })

    it('refuses more entries, bytes and bytes in a file than the options allow', async () => {
      await expectRefused([layer().file('a').file('b').file('c')], 'limit-exceeded', null, { maxEntries: 2 })
      await expectRefused([layer().file('big', Buffer.alloc(2000))], 'limit-exceeded', 'big', {
        maxFileBytes: 1000,
      })
      await expectRefused(
        [layer().file('a', Buffer.alloc(600)), layer().file('b', Buffer.alloc(600))],
        'limit-exceeded',
        null,
        { maxTotalBytes: 1000 },
      )
    })

    it('counts holes', async () => {
      await expectRefused(
        [layer().sparse('hole', { size: 2 ** 50, runs: [] }, '1.0')],
        'limit-exceeded',
        'hole',
      )
    })
  })

  describe('rule 16: the archive ends at its end', () => {
    it('extracts nothing that follows', async () => {
      await expectTree(
        [Buffer.concat([layer().file('a').build(), layer().file('after').build()])],
        ['a file'],
      )
    })

    it('refuses a cut archive, also between two members', async () => {
      const tar = layer().file('a', Buffer.alloc(2000)).file('b', 'b').build()
      await expectRefused([tar.subarray(0, 1000)], 'tar-invalid', 'a')
      await expectRefused([tar.subarray(0, 512 + 2048)], 'tar-invalid', null)
    })
  })

  describe('rule 17: sparse files are expanded, unknown types refused', () => {
    it('expands', async () => {
      const rootfs = await create([
        layer().sparse('s', { size: 10_000, runs: [[512, Buffer.alloc(512, 'd')]] }, 'old'),
      ])
      const expected = Buffer.alloc(10_000)
      expected.fill('d', 512, 1024)
      expect(readFileSync(`${rootfs}/s`).equals(expected)).toBe(true)
    })

    it.each(['A', 'D', 'M', 'N', 'V', 'Z', '9', '\x80'])('refuses type %j', async (type) => {
      await expectRefused([layer().member({ name: 'odd', type })], 'entry-refused', 'odd')
    })
  })

  describe('rule 18: every blob is what its digest says', () => {
    it('refuses a layer that was altered, and keeps nothing of it', async () => {
      const name = `image${++count}`
      const tar = layer().file('a', Buffer.alloc(70_000, 'altered')).build()
      writeLayout(`${directory}/${name}`, [{ name, layers: [tar], config: {} }], ['gzip'])
      const manifest = JSON.parse(
        readFileSync(`${directory}/${name}/index.json`, 'utf8'),
      ).manifests[0].digest.slice(7)
      const blob = JSON.parse(
        readFileSync(`${directory}/${name}/blobs/sha256/${manifest}`, 'utf8'),
      ).layers[0].digest.slice(7)
      const path = `${directory}/${name}/blobs/sha256/${blob}`
      const bytes = readFileSync(path)
      bytes[bytes.length >> 1]! ^= 1
      writeFileSync(path, bytes)
      const before = stored()
      await expect(store.create({ image: `oci:${directory}/${name}`, id: name })).rejects.toMatchObject({
        code: 'digest-mismatch',
        exitStatus: 16,
      })
      expect(stored()).toEqual(before)
    })
  })

  describe('rule 19: memory does not grow with the image', () => {
    it('takes as much for a layer of 256 MiB as for one of 1 MiB', () => {
      const small = peakMemory(1024 * 1024)
      const large = peakMemory(256 * 1024 * 1024)
      expect(large - small).toBeLessThan(100 * 1024 * 1024)
      expect(large).toBeLessThan(300 * 1024 * 1024)
    })
  })

  /**
   * Peak resident bytes of a process that creates a bundle from a layer with one file of this size. Read from /proc: what
   * getrusage says of a child begins with the peak of its parent.
   */
  function peakMemory(size: number): number {
    const name = `image${++count}`
    const layers = [layer().file('large', Buffer.alloc(size, 'not all the same ')).build()]
    writeLayout(`${directory}/${name}`, [{ name, layers, config: {} }], ['gzip'])
    const index = new URL('../../dist/lib/index.js', import.meta.url).href
    const script = `
    const { openStore } = await import(${JSON.stringify(index)})
    const store = await openStore({ path: ${JSON.stringify(`${directory}/store`)}, thread: 'caller' })
    await store.create({ image: ${JSON.stringify(`oci:${directory}/${name}`)}, id: ${JSON.stringify(name)}, ignoreOwnership: ${process.geteuid?.() !== 0} })
    await store.close()
    const { readFileSync } = await import('node:fs')
    console.log(readFileSync('/proc/self/status', 'latin1').match(/VmHWM:\\s*(\\d+)/)[1] * 1024)`
    return Number(execFileSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' }))
  }

  describe('when all is over', () => {
    it('has a store that checks out, and nothing half made', async () => {
      const report = await store.check()
      expect(report.problems).toEqual([])
      const ids = (await store.list()).map((bundle) => bundle.id)
      expect(readdirSync(`${directory}/store/bundles`).sort()).toEqual([...ids].sort())
      expect(stored()).toMatchObject({ leases: [], staging: [], trash: [] })
    })
  })
})
