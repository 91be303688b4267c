/** Bundles with mapped ids run: what the container sees of its files, what it may do, and what the host sees of that. */
import { chmodSync, existsSync, readFileSync, statSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type CreateRequest, type GrootStore, openStore, parseIdRange } from '../../lib/index.js'
import { layer } from '../../lib/testkit/layer.js'
import { onFilesystemOf } from '../support/btrfs.js'
import { DRIVERS, removeScratch } from '../support/mounts.js'
import { SHELL_USER, shellImages } from './fixtures.js'
import { writeLayout } from './layout.js'
import { runBundle, whyRuncFails } from './runc.js'
import { missing, type RunResult, type Scratch, scratchDirectory, titled } from './tools.js'

const MAX_NAMESPACES = '/proc/sys/user/max_user_namespaces'
const hasNamespaces = existsSync(MAX_NAMESPACES) && Number(readFileSync(MAX_NAMESPACES, 'utf8')) > 0
const why =
  missing({ root: true, tools: ['runc', 'busybox'] }) ??
  (hasNamespaces ? await whyRuncFails(undefined) : 'needs user namespaces')

const ranges = (text: string) => text.split(',').map((each) => parseIdRange(each, 'uid-mapping'))
const ONE = { uid: ranges('0:100000:65536'), gid: ranges('0:100000:65536') }
const TWO = { uid: ranges('0:200000:1000,1000:500000:64536'), gid: ranges('0:300000:1000,1000:600000:64536') }

/** Prints owners as the container sees them, and tries what its root may do with files. */
const SCRIPT = [
  'cat /proc/self/uid_map /proc/self/gid_map | tr -s " "',
  'stat -c "%n %u:%g %a" / /etc/greeting /home/web /home/web/mine /data',
  'ls -d /proc/1 /sys/kernel /dev/pts/ptmx /dev/shm /dev/mqueue',
  '(echo new > /made && cat /made) 2>/dev/null || echo refused',
  'echo kept > /data/kept && cat /data/kept',
  'cat /home/web/mine 2>/dev/null || echo not mine',
].join('\n')

describe.skipIf(why !== null).each(DRIVERS)(
  titled('a bundle with mapped ids of the driver %s, run by root', why),
  (driver) => {
    onFilesystemOf(driver)
    let scratch: Scratch
    let store: GrootStore
    let count = 0

    beforeAll(async () => {
      scratch = scratchDirectory()
      // What a container passes through on its way to its rootfs.
      chmodSync(scratch.path, 0o711)
      const [shell, user] = shellImages()
      const extra = layer()
        .dir('./', { mode: 0o755 })
        .dir('home/web', { uid: 1000, gid: 1001, mode: 0o755 })
        .file('home/web/mine', 'mine\n', { uid: 1000, gid: 1001, mode: 0o640 })
      const owned = {
        name: 'owned',
        layers: [...shell!.layers, extra.build()],
        config: { ...shell!.config, Cmd: ['sh', '-c', SCRIPT], Volumes: { '/data': {} } },
      }
      writeLayout(scratch.file('layout'), [shell!, user!, owned], ['gzip'])
      store = await openStore({ path: scratch.file('store'), driver, thread: 'caller' })
    })
    afterAll(async () => {
      await store?.close()
      if (scratch !== undefined) removeScratch(scratch.path)
    })

    async function createAndRun(
      name: string,
      change: Partial<CreateRequest>,
    ): Promise<RunResult & { rootfs: string; bundle: string }> {
      const id = `${driver}-${name}-${++count}`
      const warnings: string[] = []
      const { bundle, rootfs } = await store.create({
        image: `oci:${scratch.file('layout')}:${name}`,
        id,
        onEvent: (event) => event.kind === 'warning' && warnings.push(event.message),
        ...change,
      })
      expect(warnings).toEqual([])
      return { ...(await runBundle(bundle, id, scratch.file('runc'))), bundle, rootfs }
    }

    const seen = (maps: string[], made: string, mine: string) =>
      [
        ...maps,
        '/ 0:0 755',
        '/etc/greeting 0:0 644',
        '/home/web 1000:1001 755',
        '/home/web/mine 1000:1001 640',
        '/data 0:0 755',
        '/dev/mqueue',
        '/dev/pts/ptmx',
        '/dev/shm',
        '/proc/1',
        '/sys/kernel',
        made,
        'kept',
        mine,
        '',
      ].join('\n')
    const MAP_OF_ONE = [' 0 100000 65536', ' 0 100000 65536']
    const MAP_OF_TWO = [' 0 200000 1000', ' 1000 500000 64536', ' 0 300000 1000', ' 1000 600000 64536']

    it('sees the owners of the image, and writes as root of its own', async () => {
      const { rootfs, bundle, ...result } = await createAndRun('owned', { mapping: ONE })
      expect(result).toEqual({ status: 0, stdout: seen(MAP_OF_ONE, 'new', 'not mine'), stderr: '' })
      expect(statSync(`${rootfs}/made`)).toMatchObject({ uid: 100_000, gid: 100_000 })
      expect(statSync(`${bundle}/volumes/0/kept`)).toMatchObject({ uid: 100_000, gid: 100_000 })
    })

    it('has ids of several ranges', async () => {
      const { rootfs, bundle: _, ...result } = await createAndRun('owned', { mapping: TWO })
      expect(result).toEqual({ status: 0, stdout: seen(MAP_OF_TWO, 'new', 'not mine'), stderr: '' })
      expect(statSync(`${rootfs}/home/web/mine`)).toMatchObject({ uid: 500_000, gid: 600_001 })
    })

    it('cannot write to a read-only root filesystem, but to its volumes', async () => {
      const { rootfs, bundle: _, ...result } = await createAndRun('owned', { mapping: TWO, readOnly: true })
      expect(result).toEqual({ status: 0, stdout: seen(MAP_OF_TWO, 'refused', 'not mine'), stderr: '' })
      expect(existsSync(`${rootfs}/made`)).toBe(false)
    })

    it('runs as the user of the image, who reads its files', async () => {
      const { name, uid, gid } = SHELL_USER
      const { rootfs: _, bundle: __, ...result } = await createAndRun('user', { mapping: TWO })
      expect(result).toEqual({ status: 0, stdout: `${uid}\n${gid}\n/home/${name}\nmine\n`, stderr: '' })
    })

    it('runs with one id, where no terminal group is', async () => {
      const mapping = { uid: ranges('0:100000:1'), gid: ranges('0:100000:1') }
      const { rootfs: _, bundle: __, ...result } = await createAndRun('shell', { mapping })
      expect(result).toEqual({ status: 0, stdout: 'hello from the image\n', stderr: '' })
    })
  },
)
