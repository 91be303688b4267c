import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { writeSampleImage } from '../../cli/sample-image.js'

describe('the image of the quickstart', () => {
  let directory = ''
  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), 'groot-sample-'))
  })
  afterAll(() => rmSync(directory, { recursive: true, force: true }))

  const read = (arch: string) => {
    const layout = join(directory, arch)
    const isRunnable = writeSampleImage(layout, arch)
    const blob = (digest: string) => {
      const bytes = readFileSync(join(layout, 'blobs', digest.replace(':', '/')))
      expect(`sha256:${createHash('sha256').update(bytes).digest('hex')}`).toBe(digest)
      return bytes
    }
    const json = (digest: string) => JSON.parse(blob(digest).toString())
    const manifest = json(JSON.parse(readFileSync(join(layout, 'index.json'), 'utf8')).manifests[0].digest)
    const tars = manifest.layers.map((layer: { digest: string }) => gunzipSync(blob(layer.digest)))
    return { isRunnable, config: json(manifest.config.digest), tars: tars as Buffer[] }
  }

  /** The bytes of `bin/hello` in the first layer. */
  const programOf = ([base]: Buffer[]) => {
    const at = base!.indexOf('bin/hello\0')
    return base!.subarray(
      at + 512,
      at + 512 + Number.parseInt(base!.toString('latin1', at + 124, at + 135), 8),
    )
  }

  it.each([
    ['x64', 'amd64', 62],
    ['arm64', 'arm64', 183],
  ])('for %s has a static program of that machine', (arch, goarch, machine) => {
    const { isRunnable, config, tars } = read(arch)
    expect({ isRunnable, goarch: config.architecture }).toEqual({ isRunnable: true, goarch })
    const program = programOf(tars)
    expect(program.toString('latin1', 0, 4)).toBe('\x7fELF')
    expect(program.readUInt16LE(18)).toBe(machine)
    expect(program.toString()).toContain('Hello! This is the only program of this container.\n')
    const diffIds = tars.map((tar) => `sha256:${createHash('sha256').update(tar).digest('hex')}`)
    expect(config.rootfs.diff_ids).toEqual(diffIds)
  })

  it('for another machine has none, and is an image all the same', () => {
    const { isRunnable, config, tars } = read('riscv64')
    expect({ isRunnable, architecture: config.architecture, layers: tars.length }).toEqual({
      isRunnable: false,
      architecture: 'riscv64',
      layers: 2,
    })
    expect(tars[0]!.includes('bin/hello')).toBe(false)
  })

  it.skipIf(process.arch !== 'x64' && process.arch !== 'arm64')(
    'has a program that runs (needs x64 or arm64)',
    () => {
      const path = join(directory, 'hello')
      writeFileSync(path, programOf(read(process.arch).tars), { mode: 0o755 })
      const { status, stdout } = spawnSync(path, { encoding: 'utf8' })
      expect({ status, stdout }).toEqual({
        status: 0,
        stdout: 'Hello! This is the only program of this container.\n',
      })
    },
  )
})
