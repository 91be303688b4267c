import { describe, expect, it } from 'vitest'
import { groot, NOTHING_CLEANED, result } from './fake-library.js'

const FULL = {
  ...NOTHING_CLEANED,
  bytes: 10 * 1024 ** 2,
  freedBytes: 3 * 1024 ** 2,
  objects: 17,
  removed: [
    { what: 'image' as const, name: 'oci:dir\u202e:x', bytes: 8192 },
    { what: 'layer' as const, name: 'sha256:aa', bytes: 4096 },
    { what: 'layer' as const, name: 'sha256:bb', bytes: 4096 },
    { what: 'lease' as const, name: 'dead', bytes: 1024 ** 2 },
    { what: 'trash' as const, name: 'x', bytes: 0 },
    { what: 'temporary' as const, name: 'records/.tmp-x', bytes: 0 },
  ],
  pinned: ['docker://r/a:1'],
}
const SKIPPED = [
  { what: 'bundle' as const, name: 'web', code: 'mount-busy', message: 'Cannot unmount "/s/bundles/web"' },
  { what: 'layer' as const, name: 'sha256:cc', code: 'layer-damaged', message: 'Cannot read' },
]

describe('clean', () => {
  it('prints what it freed, one line each, and a summary', async () => {
    const { withStore } = await groot('clean')
    const { status, stdout, stderr } = await withStore({ cleaned: FULL })
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
    expect(stdout).toBe(
      [
        'image oci:dir\\u202e:x: 8.0 KiB',
        'layer sha256:aa: 4.0 KiB',
        'layer sha256:bb: 4.0 KiB',
        'lease dead: 1.0 MiB',
        'trash x: 0 bytes',
        'temporary records/.tmp-x: 0 bytes',
        'Freed 3.0 MiB of 10.0 MiB: 1 image, 2 layers, 1 lease, 1 piece of trash, 1 temporary file, 17 objects',
        '',
      ].join('\n'),
    )
  })

  it('says so when nothing could go, and when it stopped', async () => {
    expect((await result('clean')).stdout).toBe('Freed 0 bytes of 2.0 KiB: nothing could go\n')
    const { withStore } = await groot('clean --dry-run')
    const { stdout } = await withStore({ cleaned: { ...FULL, dryRun: true, removed: [], complete: false } })
    expect(stdout).toBe(
      'Would free 3.0 MiB of 10.0 MiB: 17 objects; stopped as its time was over, the next clean goes on\n',
    )
  })

  it('says that the store is below the threshold', async () => {
    const { withStore } = await groot('clean --threshold-bytes 4KiB')
    const cleaned = { ...NOTHING_CLEANED, thresholdBytes: 4096, belowThreshold: true }
    const { status, stdout } = await withStore({ cleaned })
    expect([status, stdout]).toEqual([
      0,
      'Nothing to do: the store takes 2.0 KiB, the threshold is 4.0 KiB\n',
    ])
  })

  it('prints one JSON object with --json', async () => {
    const { withStore } = await groot('clean --json')
    const { stdout } = await withStore({ cleaned: { ...FULL, removed: FULL.removed.slice(0, 1) } })
    expect(stdout).toBe(
      '{"dryRun":false,"bytes":10485760,"thresholdBytes":null,"belowThreshold":false,"freedBytes":3145728,"objects":17,"removed":[{"what":"image","name":"oci:dir\\u202e:x","bytes":8192}],"skipped":[],"pinned":["docker://r/a:1"],"complete":true}\n',
    )
  })

  it('tells what it skipped and why, and ends with status 3', async () => {
    const { withStore } = await groot('clean')
    const { status, stdout, stderr } = await withStore({
      cleaned: { ...FULL, removed: [], skipped: SKIPPED },
    })
    expect(status).toBe(3)
    expect(stdout).toBe(
      [
        'skipped bundle web: mount-busy: Cannot unmount "/s/bundles/web"',
        'skipped layer sha256:cc: layer-damaged: Cannot read',
        'Freed 3.0 MiB of 10.0 MiB: 17 objects',
        '',
      ].join('\n'),
    )
    expect(stderr).toBe(
      'groot: Cannot clean everything: skipped bundle "web" (mount-busy), and 1 other thing\n',
    )
    const json = await groot('clean --json --log-format json')
    const said = await json.withStore({ cleaned: { ...FULL, skipped: SKIPPED } })
    expect(JSON.parse(said.stdout).skipped).toEqual(SKIPPED)
    expect(JSON.parse(said.stderr)).toMatchObject({
      code: 'clean-incomplete',
      kind: 'partial',
      exitStatus: 3,
      facts: { skipped: 2 },
    })
  })

  it('hands on every option', async () => {
    const line =
      'clean --threshold-bytes 20GiB --older-than 30d --keep docker:///a --keep sha256:bb --dry-run --max-duration 10m --lock-timeout 5s'
    const { calls, opened } = await result(line)
    expect(opened).toEqual([{ path: '/s', make: false, thread: 'caller' }])
    expect(calls).toEqual([
      [
        'clean',
        {
          lockTimeoutMs: 5000,
          dryRun: true,
          keep: ['docker:///a', 'sha256:bb'],
          thresholdBytes: 20 * 1024 ** 3,
          olderThanMs: 30 * 86_400_000,
          maxDurationMs: 600_000,
        },
      ],
    ])
  })

  it('makes no store where there is none', async () => {
    const { status, stdout, stderr } = await result('clean --threshold-bytes 1', { storeMissing: true })
    expect([status, stdout]).toEqual([
      0,
      'Nothing to do: the store takes 0 bytes, the threshold is 1 bytes\n',
    ])
    expect(stderr).toContain('There is no store')
  })
})

describe('pin and unpin', () => {
  it('print what is pinned, and nothing when it is undone', async () => {
    const pinned = await result('pin a')
    expect([pinned.status, pinned.stdout]).toEqual([0, 'docker://registry.example/a\\u202e\n'])
    expect((await result('pin a --json')).stdout).toBe(
      '{"image":"docker://registry.example/a\\u202e","changed":true}\n',
    )
    const undone = await result('unpin a')
    expect([undone.status, undone.stdout, undone.stderr]).toEqual([0, '', ''])
    expect((await result('unpin --json a')).stdout).toBe('{"image":"a","changed":true}\n')
  })

  it('tell that there was no pin, and that there is no store', async () => {
    const { status, stderr } = await result('unpin unknown')
    expect([status, stderr]).toEqual([0, 'groot: warning: There is no pin of "unknown"\n'])
    const missing = await result('pin a', { storeMissing: true })
    expect(missing.status).toBe(13)
    expect(missing.stderr).toContain('Cannot pin image "a": there is no store yet')
    expect((await result('unpin a', { storeMissing: true })).status).toBe(0)
  })
})

describe('locks', () => {
  it('prints who holds what, since when', async () => {
    expect((await result('locks')).stdout).toBe(
      'bundle/web held by process 42 (groot create) since 2026-01-02T03:04:05.678Z\ngc held\n',
    )
    expect((await result('locks --json')).stdout).toBe(
      '[{"lock":"bundle/web","pid":42,"command":"groot create","since":"2026-01-02T03:04:05.678Z"},{"lock":"gc","pid":null,"command":null,"since":null}]\n',
    )
    expect((await result('locks --json', { storeMissing: true })).stdout).toBe('[]\n')
  })
})
