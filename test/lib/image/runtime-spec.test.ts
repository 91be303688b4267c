import { spawnSync } from 'node:child_process'
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Ajv } from 'ajv'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { runtimeSpec, type SpecRequest, withheldLabels } from '../../../lib/image/runtime-spec.js'
import { imageConfig } from './image-config.js'
import { RUNTIME_SPEC_SCHEMA } from './runtime-spec-schema.js'

const PATH = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

const REQUEST: SpecRequest = {
  rootfsPath: 'rootfs',
  readOnly: false,
  user: { uid: 0, gid: 0, additionalGids: [] },
  bundleId: 'web-1',
  rootless: null,
}

const convert = (process: Parameters<typeof imageConfig>[0] = {}, request: Partial<SpecRequest> = {}) =>
  runtimeSpec(imageConfig(process), { ...REQUEST, ...request })

describe('the process', () => {
  it.each([
    [[], [], ['sh']],
    [[], ['nginx', '-g', 'daemon off;'], ['nginx', '-g', 'daemon off;']],
    [['/entry'], [], ['/entry']],
    [
      ['/entry', '$HOME'],
      ['a b', ''],
      ['/entry', '$HOME', 'a b', ''],
    ],
  ])('of entrypoint %j and cmd %j has the args %j', (entrypoint, cmd, args) => {
    expect(convert({ entrypoint, cmd }).process.args).toEqual(args)
  })

  it.each([
    [[], [PATH]],
    [['A=1'], [PATH, 'A=1']],
    [
      ['PATH=/bin', 'A=b=c', 'EMPTY=', 'A=2'],
      ['PATH=/bin', 'A=b=c', 'EMPTY=', 'A=2'],
    ],
    [['PATH='], ['PATH=']],
    [
      ['NAME', '', '=x', 'PATHS=/x'],
      [PATH, 'PATHS=/x'],
    ],
  ])('of env %j gets %j', (env, expected) => {
    expect(convert({ env }).process.env).toEqual(expected)
  })

  it.each([
    ['/srv/app', '/srv/app'],
    ['srv', '/srv'],
    ['/a/../b', '/b'],
    ['/..', '/'],
    ['../../b', '/b'],
    ['/./x', '/x'],
    ['/x/.', '/x'],
    ['//x//y/', '/x/y'],
    [`/${'n'.repeat(255)}`, `/${'n'.repeat(255)}`],
  ])('starts in %s as %s', (workingDir, cwd) => {
    expect(convert({ workingDir }).process.cwd).toBe(cwd)
    expect(convert().process.cwd).toBe('/')
  })

  it.each([
    ['a name of 256 bytes', `/${'n'.repeat(256)}`],
    ['a path of 4100 bytes', '/long'.repeat(820)],
  ])('cannot start in %s', (_name, workingDir) => {
    expect(() => convert({ workingDir })).toThrow(
      expect.objectContaining({
        code: 'config-invalid',
        facts: expect.objectContaining({ field: '$.config.WorkingDir' }),
      }),
    )
  })

  it('runs as the resolved user', () => {
    const user = { uid: 1000, gid: 1001, additionalGids: [50, 999] }
    expect(convert({}, { user }).process.user).toEqual(user)
    expect(convert({}, { user: { ...user, additionalGids: [] } }).process.user).toEqual({
      uid: 1000,
      gid: 1001,
    })
  })

  it('runs as user 0, who is the caller, where there is one id only', () => {
    const user = { uid: 1000, gid: 1001, additionalGids: [50] }
    const spec = convert({}, { user, rootless: { uid: 501, gid: 502 } })
    expect(spec.process.user).toEqual({ uid: 0, gid: 0 })
    expect(spec.linux).toMatchObject({
      uidMappings: [{ containerID: 0, hostID: 501, size: 1 }],
      gidMappings: [{ containerID: 0, hostID: 502, size: 1 }],
    })
  })

  it.each([
    ['$.config.Entrypoint or $.config.Cmd', { entrypoint: ['a\0b'] }],
    ['$.config.Entrypoint or $.config.Cmd', { cmd: ['a\0b'] }],
    ['$.config.Env', { env: ['A=a\0b'] }],
    ['$.config.WorkingDir', { workingDir: 'a\0b' }],
    ['$.config.Labels', { labels: { 'a\0b': 'x' } }],
    ['the value of annotation "org.opencontainers.image.stopSignal"', { stopSignal: 'a\0b' }],
  ])('does not get NUL in %s', (where, process) => {
    expect(() => convert(process)).toThrow(
      expect.objectContaining({
        code: 'config-invalid',
        facts: expect.objectContaining({ document: 'config', field: where }),
      }),
    )
  })
})

describe('the hostname', () => {
  it.each([
    ['web-1', 'web-1'],
    ['Web_1.example', 'Web-1-example'],
    ['a'.repeat(128), 'a'.repeat(63)],
    [`${'a'.repeat(60)}---b`, 'a'.repeat(60)],
    ['...', 'groot'],
    ['9', '9'],
  ])('of bundle %s is %s', (bundleId, hostname) => {
    expect(convert({}, { bundleId }).hostname).toBe(hostname)
  })
})

describe('annotations', () => {
  it('carry what has no other place', () => {
    const process = { stopSignal: 'SIGQUIT', exposedPorts: ['8080/tcp', '53/udp'], labels: { a: '1', b: '' } }
    const config = imageConfig(process, {
      variant: 'v7',
      osVersion: '1.2',
      osFeatures: ['a', 'b'],
      created: '2020-01-02T03:04:05Z',
      author: 'A <a@b.c>',
    })
    expect(runtimeSpec(config, REQUEST).annotations).toEqual({
      'org.opencontainers.image.os': 'linux',
      'org.opencontainers.image.architecture': 'amd64',
      'org.opencontainers.image.variant': 'v7',
      'org.opencontainers.image.os.version': '1.2',
      'org.opencontainers.image.os.features': 'a,b',
      'org.opencontainers.image.author': 'A <a@b.c>',
      'org.opencontainers.image.created': '2020-01-02T03:04:05Z',
      'org.opencontainers.image.stopSignal': 'SIGQUIT',
      'org.opencontainers.image.exposedPorts': '53/udp,8080/tcp',
      a: '1',
      b: '',
    })
  })

  it('take a label before what follows from another field', () => {
    const labels = { 'org.opencontainers.image.os': 'mine', 'org.opencontainers.image.author': '' }
    expect(convert({ labels }).annotations).toEqual({
      'org.opencontainers.image.os': 'mine',
      'org.opencontainers.image.architecture': 'amd64',
      'org.opencontainers.image.author': '',
    })
  })

  it('keep a label called __proto__ as the data it is', () => {
    const labels = JSON.parse('{"__proto__": "x", "constructor": "y"}') as Record<string, string>
    expect(JSON.parse(JSON.stringify(convert({ labels }))).annotations).toEqual(
      JSON.parse(
        '{"org.opencontainers.image.os":"linux","org.opencontainers.image.architecture":"amd64","__proto__":"x","constructor":"y"}',
      ),
    )
  })

  it('leave out labels that runtimes would act on, and say which', () => {
    const labels = {
      'run.oci.hooks.stdout': '/etc/passwd',
      'org.systemd.property.ExecStopPost': 'x',
      '': 'nameless',
      'org.example': 'kept',
    }
    expect(withheldLabels(imageConfig({ labels }))).toEqual([
      '',
      'org.systemd.property.ExecStopPost',
      'run.oci.hooks.stdout',
    ])
    expect(Object.keys(convert({ labels }).annotations ?? {})).toEqual([
      'org.opencontainers.image.os',
      'org.opencontainers.image.architecture',
      'org.example',
    ])
  })
})

describe('mounts', () => {
  it("puts a driver's first and a bind of its directory for each volume last", () => {
    const root = { destination: '/', type: 'overlay', source: 'overlay', options: ['lowerdir=/a'] }
    const { mounts } = convert({ volumes: ['/srv/data'] }, { mounts: [root] })
    expect(mounts[0]).toEqual(root)
    expect(mounts.slice(1, -1)).toEqual(convert().mounts)
    expect(mounts.at(-1)).toEqual({
      destination: '/srv/data',
      type: 'bind',
      source: 'volumes/0',
      options: ['rbind', 'rw', 'nosuid', 'nodev'],
    })
  })
})

describe('the document', () => {
  const validate = new Ajv({ strict: true, allErrors: true }).compile(RUNTIME_SPEC_SCHEMA)

  it('has the shape of the runtime-spec, whatever the image says', () => {
    const texts = fc.array(
      fc.string({ unit: 'binary' }).map((text) => text.replaceAll('\0', '')),
      { maxLength: 4 },
    )
    const id = fc.integer({ min: 0, max: 2 ** 32 - 2 })
    const process = fc.record({
      env: texts,
      entrypoint: texts,
      cmd: texts,
      exposedPorts: texts,
      volumes: texts.map((names) => names.map((name) => `/v/${name.replaceAll('..', '')}`)),
      labels: fc.dictionary(
        fc.string().map((key) => key.replaceAll('\0', '')),
        fc.string().map((value) => value.replaceAll('\0', '')),
      ),
    })
    const request = fc.record({
      readOnly: fc.boolean(),
      user: fc.record({ uid: id, gid: id, additionalGids: fc.array(id) }),
      rootless: fc.option(fc.record({ uid: id, gid: id })),
      hasUnifiedCgroups: fc.boolean(),
    })
    fc.assert(
      fc.property(process, request, (image, wish) => {
        const spec = JSON.parse(JSON.stringify(convert(image, wish))) as unknown
        expect(validate(spec) ? [] : validate.errors).toEqual([])
      }),
    )
  })

  it('shares nothing between two calls', () => {
    const first = convert()
    first.mounts.length = 0
    first.process.capabilities.bounding.push('CAP_SYS_ADMIN')
    first.linux.maskedPaths.length = 0
    expect(convert()).not.toEqual(first)
    expect(convert().process.capabilities.effective).toHaveLength(3)
    expect(convert().linux.maskedPaths).toHaveLength(10)
  })
})

const runcVersion = /^runc version (\d+\.\d+)/.exec(
  spawnSync('runc', ['--version'], { encoding: 'utf8' }).stdout ?? '',
)
const withoutRunc = runcVersion?.[1] !== '1.1'
const isRoot = process.geteuid?.() === 0

describe('compared with runc', () => {
  let directory = ''
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'groot-spec-'))
  })
  afterEach(() => rmSync(directory, { recursive: true, force: true }))

  it.skipIf(withoutRunc).each([
    ['runc spec', [], null],
    [
      'runc spec --rootless',
      ['--rootless'],
      { uid: process.geteuid?.() ?? 0, gid: process.getegid?.() ?? 0 },
    ],
  ])('is what `%s` writes, but for what is documented (needs runc 1.1)', (_, flags, rootless) => {
    spawnSync('runc', ['spec', ...flags], { cwd: directory })
    const expected = JSON.parse(readFileSync(join(directory, 'config.json'), 'utf8'))
    expected.ociVersion = '1.0.2'
    expected.process.terminal = false
    expected.process.env = [PATH]
    expected.hostname = 'web-1'
    const hasUnifiedCgroups = existsSync('/sys/fs/cgroup/cgroup.controllers')
    const { annotations, ...spec } = convert({}, { readOnly: true, rootless, hasUnifiedCgroups })
    expect(JSON.parse(JSON.stringify(spec))).toEqual(expected)
  })

  const withoutBusybox = !existsSync('/bin/busybox')
  it.skipIf(withoutRunc || withoutBusybox || !isRoot)('is run by runc (needs root, runc, busybox)', () => {
    const script =
      'echo "$0 $1"; id -u; id -g; pwd; hostname; echo "$PATH:$MSG"; cat /data/seed; touch /data/new /new'
    const image = {
      entrypoint: ['/bin/sh', '-c', script],
      cmd: ['*', '$HOME'],
      env: ['MSG=a "b" $(c)\n`d`', 'NOVALUE'],
      workingDir: 'work/dir',
      volumes: ['/data'],
      labels: { quoted: '"\n', 'org.systemd.property.Nope': '1' },
    }
    const user = { uid: 1000, gid: 1001, additionalGids: [50] }
    const result = runBundle(directory, 'runc', convert(image, { user }))
    expect(result.stdout).toBe(
      `* $HOME\n1000\n1001\n/work/dir\nweb-1\n${PATH.slice(5)}:a "b" $(c)\n\`d\`\nfrom the image\n`,
    )
    expect(result.stderr).toMatch(
      /^touch: \/data\/new: Permission denied\ntouch: \/new: Permission denied\n$/,
    )
  })

  const withoutUserns = spawnSync('setpriv', [
    '--reuid=4711',
    '--regid=4711',
    '--clear-groups',
    'unshare',
    '-Ur',
    'true',
  ])
  it.skipIf(withoutRunc || withoutBusybox || !isRoot || withoutUserns.status !== 0)(
    'is run without root by runc (needs root to become somebody else, runc, busybox, user namespaces)',
    () => {
      const image = {
        cmd: [
          '/bin/sh',
          '-c',
          'id -u; cat /data/seed; echo more >/data/new; cat /data/new; cat /proc/sys/kernel/ostype',
        ],
      }
      const spec = convert({ ...image, volumes: ['/data'] }, { rootless: { uid: 4711, gid: 4711 } })
      const result = runBundle(directory, 'setpriv --reuid=4711 --regid=4711 --clear-groups runc', spec)
      expect(result).toEqual({ status: 0, stderr: '', stdout: '0\nfrom the image\nmore\nLinux\n' })
    },
  )
})

/** Puts a bundle around a spec: busybox as rootfs, one volume. */
function runBundle(directory: string, runc: string, spec: object) {
  const bundle = join(directory, 'bundle')
  mkdirSync(join(bundle, 'rootfs/bin'), { recursive: true })
  mkdirSync(join(bundle, 'volumes/0'), { recursive: true })
  cpSync('/bin/busybox', join(bundle, 'rootfs/bin/busybox'), { dereference: true })
  for (const name of ['sh', 'id', 'pwd', 'hostname', 'cat', 'touch'])
    symlinkSync('busybox', join(bundle, 'rootfs/bin', name))
  writeFileSync(join(bundle, 'volumes/0/seed'), 'from the image\n')
  writeFileSync(join(bundle, 'config.json'), JSON.stringify(spec))
  if (runc !== 'runc') spawnSync('chown', ['-R', '4711:4711', directory])
  const [command = '', ...args] = [...runc.split(' '), '--root', join(directory, 'state')]
  const { status, stdout, stderr } = spawnSync(
    command,
    [...args, 'run', '-b', bundle, `groot-test-${process.pid}`],
    {
      encoding: 'utf8',
      timeout: 30_000,
    },
  )
  return { status, stdout, stderr }
}
