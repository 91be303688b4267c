import { describe, expect, it } from 'vitest'
import { DroppedXattrs } from '../../../lib/layer/dropped-xattrs.js'
import { LayerPolicy } from '../../../lib/layer/layer-policy.js'
import { DEFAULT_LIMITS } from '../../../lib/layer/limits.js'
import { layer } from '../../../lib/testkit/layer.js'
import { NO_CONTENT } from '../../../lib/tree/model.js'
import { entriesOf } from './collect.js'

describe('the policy of a layer', () => {
  it('refuses the member with which names, targets and attributes are too much to hold', () => {
    const value = Buffer.alloc(1000, 'v')
    const tar = layer()
    for (let i = 0; i < 8; i++)
      tar.file(`file-${i}`, '', { xattrs: { 'user.a': value, 'security.selinux': value } })
    const entries = entriesOf(tar.build())
    const dropped = new DroppedXattrs()
    const policy = new LayerPolicy({ ...DEFAULT_LIMITS, maxMetadataBytes: 5 * 1150 }, ({ name }) =>
      dropped.add(name),
    )
    for (const entry of entries.slice(0, 5)) expect(policy.apply(entry, NO_CONTENT)).not.toBeNull()
    expect(() => policy.apply(entries[5]!, NO_CONTENT)).toThrow(
      expect.objectContaining({
        code: 'limit-exceeded',
        facts: expect.objectContaining({ entry: 'file-5' }),
      }),
    )
    expect([...dropped.counts]).toEqual([['security.selinux', 6]])
  })
})

describe('dropped attributes', () => {
  it('are told by name, and of many names the first', () => {
    const one = new DroppedXattrs()
    for (let i = 0; i < 1000; i++) one.add(`security.x${i % 200}`)
    expect([one.counts.size, one.counts.get('security.x49'), one.others]).toEqual([50, 5, 750])
    const all = new DroppedXattrs()
    all.add('security.x7')
    all.add('security.other')
    all.addAll(one)
    expect([all.counts.size, all.counts.get('security.x7'), all.others]).toEqual([50, 6, 755])
  })
})
