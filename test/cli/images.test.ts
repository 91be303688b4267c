import { describe, expect, it } from 'vitest'
import type { ImageSummary } from '../../lib/index.js'
import { groot, result } from './fake-library.js'

const IMAGE: ImageSummary = {
  digest: 'sha256:aa',
  references: ['docker://r/a:1', 'oci:dir\u202e:x'],
  platform: 'linux/amd64',
  tree: 'd1',
  complete: true,
  totalBytes: 3 * 1024 ** 2,
  sharedBytes: 2 * 1024 ** 2,
  ownBytes: 1024 ** 2,
  lastUsedAt: '2026-01-02T03:04:05.678Z',
  pinned: true,
  bundles: 2,
}
const NAMELESS: ImageSummary = {
  ...IMAGE,
  digest: 'sha256:bbbb',
  references: [],
  platform: null,
  tree: null,
  complete: false,
  pinned: false,
  bundles: 0,
}

describe('images', () => {
  it('prints a line for each name, in columns', async () => {
    const { withStore } = await groot('images')
    const { status, stdout, stderr } = await withStore({ listed: [IMAGE, NAMELESS] })
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
    expect(stdout).toBe(
      [
        'IMAGE            DIGEST       PLATFORM     TOTAL    OWN      LAST USE           STATE',
        'docker://r/a:1   sha256:aa    linux/amd64  3.0 MiB  1.0 MiB  2026-01-02T03:04Z  2 bundles, pinned',
        'oci:dir\\u202e:x  sha256:aa    linux/amd64  3.0 MiB  1.0 MiB  2026-01-02T03:04Z  2 bundles, pinned',
        '-                sha256:bbbb  -            3.0 MiB  1.0 MiB  2026-01-02T03:04Z  incomplete',
        '',
      ].join('\n'),
    )
  })

  it('prints nothing of an empty store, nor of one that is not there', async () => {
    expect((await result('images')).stdout).toBe('')
    expect(await result('images --json', { storeMissing: true })).toMatchObject({ status: 0, stdout: '[]\n' })
  })

  it('prints an array of objects with --json, on one line', async () => {
    const { withStore } = await groot('images --json')
    const { stdout } = await withStore({ listed: [IMAGE, NAMELESS] })
    expect(JSON.parse(stdout)).toEqual([IMAGE, NAMELESS])
    expect(stdout).not.toContain('\u202e')
    expect(stdout.split('\n')).toHaveLength(2)
  })
})

describe('rmi', () => {
  const REPORT = {
    images: [
      { digest: 'sha256:aa', untagged: ['docker://r/a:1'], removed: true },
      { digest: 'sha256:bb', untagged: ['oci:dir\u202e:x'], removed: false },
      { digest: 'sha256:cc', untagged: ['oci:dir\u202e:x'], removed: false },
    ],
    freedBytes: 3 * 1024 ** 2,
    objects: 17,
    removed: [{ what: 'image' as const, name: 'sha256:aa', bytes: 8192 }],
    skipped: [],
  }

  it('hands on what is named, and prints what became of it', async () => {
    const { withStore } = await groot('rmi --force --lock-timeout 2s docker://r/a:1 sha256:bb')
    const { status, stdout, stderr, calls } = await withStore({ removal: REPORT })
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
    expect(calls).toEqual([
      ['removeImages', { images: ['docker://r/a:1', 'sha256:bb'], force: true, lockTimeoutMs: 2000 }],
    ])
    expect(stdout).toBe(
      'untagged docker://r/a:1\nremoved sha256:aa\nuntagged oci:dir\\u202e:x\nFreed 3.0 MiB\n',
    )
  })

  it('prints the report with --json', async () => {
    const { withStore } = await groot('rmi --json docker://r/a:1')
    expect(JSON.parse((await withStore({ removal: REPORT })).stdout)).toEqual(REPORT)
  })

  it('ends with 3 when something was skipped, and tells the first', async () => {
    const skipped = [
      { what: 'base' as const, name: 'sha256-aa', code: 'mount-busy', message: 'Cannot unmount' },
    ]
    const { withStore } = await groot('rmi docker://r/a:1')
    const { status, stdout, stderr } = await withStore({ removal: { ...REPORT, skipped } })
    expect(status).toBe(3)
    expect(stdout).toContain('skipped base sha256-aa: mount-busy: Cannot unmount\n')
    expect(stderr).toBe('groot: Cannot remove everything: base "sha256-aa": Cannot unmount\n')
  })

  it('of a store that is not there ends with 13', async () => {
    expect(await result('rmi docker://r/a:1', { storeMissing: true })).toMatchObject({
      status: 13,
      stdout: '',
    })
  })

  it('needs an image', async () => {
    expect(await result('rmi')).toMatchObject({ status: 2 })
  })
})
