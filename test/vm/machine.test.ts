/**
 * The machines themselves: what is reported when a check fails, and when the machine does.
 */
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { findTool, titled } from '../images/tools.js'
import { cpioArchive } from './machine/cpio.js'
import { emptyFile } from './machine/disks.js'
import { cacheDirectory, kernelFrom, NoKernel } from './machine/kernel.js'
import { modulesInOrder } from './machine/modules.js'
import { type Host, isStatic, missingForMachines } from './machine/needs.js'
import { outcomeOf, parseLine, type Report } from './machine/report.js'
import { boot, whyNoMachine } from './suite.js'

const scratch = mkdtempSync(join(tmpdir(), 'groot-vm-test-'))
afterAll(() => rmSync(scratch, { recursive: true }))

const why = whyNoMachine([])

describe.skipIf(why !== null)(titled('a machine', why), () => {
  describe('whose checks fail', () => {
    let report: Report
    beforeAll(async () => {
      // Later groups are not reached: the program ends in between.
      report = await boot([], { args: ['faults', 'exit', 'kernel'], limitSeconds: 120 })
    }, 180_000)

    it('reports those that passed', () => {
      expect(outcomeOf(report, 'faults', 'passes')).toMatchObject({ passed: true })
    })

    it('reports why one failed, with its causes', () => {
      const outcome = outcomeOf(report, 'faults', 'fails with a cause')
      expect(outcome).toMatchObject({
        passed: false,
        why: expect.stringMatching(
          /^Error: not what it was taken for\n[\s\S]*\ncaused by: Error: ENOENT\n[\s\S]*\nENOENT$/,
        ),
      })
    })

    it('is not misled by what is written to the console', () => {
      expect(outcomeOf(report, 'faults', 'survives noise on the console')).toMatchObject({ passed: true })
      expect(report.console).toContain('noise')
    })

    it('reports the status that the program ended with, and what was not reached', () => {
      expect(report.end).toEqual({ kind: 'ended', status: 7 })
      expect(outcomeOf(report, 'exit', 'ends the program')).toMatchObject({
        passed: false,
        why: expect.stringContaining(
          'did not report this check: the guest program ended with status 7, after the check "survives noise on the console"',
        ),
      })
    })
  })

  it('whose kernel panics is reported at once, with the console', async () => {
    const report = await boot([], { args: ['panic'], limitSeconds: 120 })
    expect(report.end).toEqual({ kind: 'lost', status: 'exit 0', emulatorCrashed: false })
    expect(report.seconds).toBeLessThan(100)
    expect(outcomeOf(report, 'panic', 'ends the kernel')).toMatchObject({
      passed: false,
      why: expect.stringMatching(/it went down \(qemu: exit 0\), before the first check[\s\S]*Kernel panic/),
    })
  }, 180_000)

  it('that does not end is ended', async () => {
    const report = await boot([], { args: ['hang'], limitSeconds: 5 })
    expect(report.end).toEqual({ kind: 'out-of-time', seconds: 5 })
    expect(report.seconds).toBeLessThan(60)
    expect(outcomeOf(report, 'hang', 'never ends')).toMatchObject({
      passed: false,
      why: expect.stringContaining('it had not ended after 5 seconds, before the first check'),
    })
  }, 180_000)

  it('that has too little memory to come up says so', async () => {
    const report = await boot([], { args: ['kernel'], limitSeconds: 60, memory: 32 }, 1)
    expect(report.end.kind).toBe('lost')
    expect(report.release).toBeNull()
  }, 180_000)

  it('is made of a kernel that stays in the cache', async () => {
    const kernel = await kernelFrom(cacheDirectory())
    expect(existsSync(kernel.image)).toBe(true)
    expect(await kernelFrom(cacheDirectory())).toEqual(kernel)
    const names = modulesInOrder(kernel.modules, ['btrfs', 'ext4', 'quota-v2']).map((each) => each.name)
    expect(names.slice(-3)).toEqual(['btrfs', 'quota_tree', 'quota_v2'])
    expect(names.indexOf('raid6_pq')).toBeLessThan(names.indexOf('btrfs'))
    expect(names).not.toContain('ext4')
    expect(() => modulesInOrder(kernel.modules, ['no-such-thing'])).toThrow('has no module "no_such_thing"')
  })
})

describe('what a host lacks for machines', () => {
  const able: Host = {
    arch: 'x64',
    findTool: (name) => `/bin/${name}`,
    isStatic: () => true,
    scratch: { path: '/scratch', freeBytes: 1024 ** 3 },
  }

  it.each<[string, Partial<Host>, string | null]>([
    ['nothing', {}, null],
    ['its architecture', { arch: 'arm64' }, 'needs x64, this is arm64'],
    [
      'tools',
      { findTool: (name) => (/^(qemu.*|xz)$/.test(name) ? null : name) },
      'needs qemu-system-x86_64, xz',
    ],
    ['a static busybox', { isStatic: () => false }, 'needs a static busybox (package busybox-static)'],
    [
      'room',
      { scratch: { path: '/scratch', freeBytes: 2 ** 29 } },
      'needs 1024 MiB in /scratch, 512 are free',
    ],
  ])('%s', (_what, lacking, reason) => {
    expect(missingForMachines({ ...able, ...lacking })).toBe(reason)
  })

  it('a kernel that cannot be fetched, which leaves nothing in the cache', async () => {
    const [tools, cache] = [join(scratch, 'tools'), join(scratch, 'cache')]
    mkdirSync(tools)
    writeFileSync(join(tools, 'apt-get'), '#!/bin/sh\necho "E: no network" >&2\nexit 100\n', { mode: 0o755 })
    vi.stubEnv('PATH', `${tools}:${process.env.PATH}`)
    try {
      const fetching = kernelFrom(cache)
      await expect(fetching).rejects.toThrow(NoKernel)
      await expect(fetching).rejects.toThrow('apt-get update: E: no network')
    } finally {
      vi.unstubAllEnvs()
    }
    expect(readdirSync(cache)).toEqual([])
  })

  it('tells static programs from others', () => {
    expect(isStatic(process.execPath)).toBe(false)
    // An ELF file of one segment, and no loader.
    const elf = Buffer.alloc(64 + 56)
    elf.writeBigUInt64LE(64n, 32)
    elf.writeUInt16LE(56, 54)
    elf.writeUInt16LE(1, 56)
    elf.writeUInt32LE(1, 64)
    writeFileSync(join(scratch, 'static'), elf)
    expect(isStatic(join(scratch, 'static'))).toBe(true)
  })
})

describe('the parts of a machine', () => {
  it.skipIf(findTool('cpio') === null)('has a first root that cpio reads (needs cpio)', () => {
    const archive = cpioArchive([
      { kind: 'directory', path: 'bin' },
      { kind: 'file', path: 'bin/odd', mode: 0o755, content: Buffer.from('12345') },
      { kind: 'file', path: 'init', mode: 0o644, content: Buffer.from('#!') },
    ])
    const unpack = { cwd: scratch, input: archive, encoding: 'utf8' } as const
    expect(execFileSync('cpio', ['-t', '--quiet'], unpack)).toBe('bin\nbin/odd\ninit\n')
    execFileSync('cpio', ['-i', '--quiet'], unpack)
    expect(readFileSync(join(scratch, 'bin/odd'), 'utf8')).toBe('12345')
    expect(readFileSync(join(scratch, 'init'), 'utf8')).toBe('#!')
  })

  it('never writes over a disk that is there', async () => {
    const file = join(scratch, 'disk')
    await emptyFile(file, 4096)
    await expect(emptyFile(file, 4096)).rejects.toMatchObject({ code: 'EEXIST' })
  })

  it.each(['', '{"kind":"other"}', 'null', '[1]', 'x'.repeat(500)])(
    'refuses %j as a line of a report',
    (text) => {
      expect(() => parseLine(text)).toThrow("Cannot read the machine's report")
    },
  )
})
