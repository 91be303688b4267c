import { describe, expect, it } from 'vitest'
import { byteString } from '../../../lib/bytes.js'
import { Arena } from '../../../lib/composefs/arena.js'
import { XattrPool } from '../../../lib/composefs/xattr-pool.js'

describe('the pool of xattrs', () => {
  it('gives a pair of name and value one id, for few values of a name and for many', () => {
    const pool = new XattrPool(new Arena(), 1)
    const idsOf = (name: string) =>
      Array.from({ length: 100 }, (_, i) => pool.use(pool.key(byteString(name)), byteString(`${i % 50}`)))
    const ids = [...idsOf('user.a'), ...idsOf('user.b')]
    expect(ids).toEqual(Array.from({ length: 200 }, (_, i) => (i % 50) + (i < 100 ? 0 : 50)))
  })

  // An image may have a name for each dozen of its bytes.
  it('has no table of the values of a name that has few', () => {
    const pool = new XattrPool(new Arena(), 1)
    const key = pool.key(byteString('user.a'))
    for (let i = 0; i < 8; i++) pool.use(key, byteString(`${i}`))
    expect(key.ids).toBeNull()
    pool.use(key, byteString('8'))
    expect(key.ids).not.toBeNull()
  })
})
