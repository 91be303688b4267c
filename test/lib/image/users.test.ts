import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ImageError } from '../../../lib/errors.js'
import { resolveUser } from '../../../lib/image/users.js'

const PASSWD = Buffer.from(
  [
    'root:x:0:0:root:/root:/bin/sh',
    'web:x:1000:1001:Web:/srv/web:/bin/false',
    'web:x:9:9:a second one of that name:/:/bin/false',
    'short:x:7',
    'empty:x::5::/:/bin/sh',
    'huge:x:4294967295:0::/:/bin/sh',
    'negative:x:-1:0::/:/bin/sh',
    '',
    '# a comment: with: colons: inside',
    '+::::::',
    'jürgen:x:1200:1300::/home/jürgen:/bin/sh',
    'dos:x:1400:1500::/:/bin/sh\r',
    'last:x:4294967294:4294967294',
  ].join('\n'),
)

const GROUP = Buffer.from(
  [
    'root:x:0:root',
    'staff:x:50:web,other',
    'broken:x:fifty:web',
    'web:x:1001:',
    'docker:x:999:other,web',
    'staff:x:51:web',
    'again:x:50:web',
    'webs:x:60:website',
    'jürgen:x:1300:jürgen',
    'wide:x:4294967295:web',
  ].join('\n'),
)

const user = (uid: number, gid: number, additionalGids: number[] = []) => ({ uid, gid, additionalGids })

describe('the user of an image', () => {
  it.each([
    [undefined, user(0, 0)],
    ['', user(0, 0)],
    ['web', user(1000, 1001, [50, 999, 51])],
    ['root', user(0, 0, [0])],
    ['1000', user(1000, 1001)],
    ['0', user(0, 0)],
    ['0000', user(0, 0)],
    ['4242', user(4242, 0)],
    ['4294967294', user(4294967294, 4294967294)],
    ['web:staff', user(1000, 50)],
    ['web:77', user(1000, 77)],
    ['4242:4343', user(4242, 4343)],
    ['4242:docker', user(4242, 999)],
    ['web:', user(1000, 1001, [50, 999, 51])],
    ['jürgen', user(1200, 1300, [1300])],
    ['dos', user(1400, 1500)],
    ['last', user(4294967294, 4294967294)],
  ])('resolves %j', (field, expected) => {
    expect(resolveUser(field, PASSWD, GROUP)).toEqual(expected)
  })

  it('takes numbers also when the image has neither file', () => {
    expect(resolveUser('1000:1000', null, null)).toEqual(user(1000, 1000))
    expect(resolveUser('1000', null, null)).toEqual(user(1000, 0))
    expect(resolveUser(undefined, null, null)).toEqual(user(0, 0))
  })

  it('gives no supplementary groups when there is no group file', () => {
    expect(resolveUser('web', PASSWD, null)).toEqual(user(1000, 1001))
  })

  it.each([
    ['nobody', { user: 'nobody', file: '/etc/passwd', present: true }],
    ['short', { user: 'short', file: '/etc/passwd', present: true }],
    ['empty', { user: 'empty', file: '/etc/passwd', present: true }],
    ['huge', { user: 'huge', file: '/etc/passwd', present: true }],
    ['negative', { user: 'negative', file: '/etc/passwd', present: true }],
    ['+', { user: '+', file: '/etc/passwd', present: true }],
    ['-1', { user: '-1', file: '/etc/passwd', present: true }],
    ['+0', { user: '+0', file: '/etc/passwd', present: true }],
    ['0x0', { user: '0x0', file: '/etc/passwd', present: true }],
    ['WEB', { user: 'WEB', file: '/etc/passwd', present: true }],
    [' web', { user: ' web', file: '/etc/passwd', present: true }],
    ['web:nogroup', { group: 'nogroup', file: '/etc/group', present: true }],
    ['1:broken', { group: 'broken', file: '/etc/group', present: true }],
    ['1:wide', { group: 'wide', file: '/etc/group', present: true }],
  ])('refuses %j, which the files do not have', (field, facts) => {
    expect(refusal(() => resolveUser(field, PASSWD, GROUP))).toEqual({ code: 'user-unknown', facts })
  })

  it('says when the file itself is missing', () => {
    expect(() => resolveUser('web', null, GROUP)).toThrow(
      'Cannot resolve the user "web": the image has no passwd file',
    )
    expect(() => resolveUser('1:staff', PASSWD, null)).toThrow(
      'Cannot resolve the group "staff": the image has no group file',
    )
  })

  it.each(['4294967295', '1:4294967295', '99999999999999999999', `1:${'9'.repeat(400)}`])(
    'refuses %s: out of range',
    (field) => {
      const facts = { document: 'config', field: '$.config.User', user: field, limit: 4294967294 }
      expect(refusal(() => resolveUser(field, PASSWD, GROUP))).toEqual({ code: 'config-invalid', facts })
    },
  )

  it.each([':', ':staff', ':0', 'a:b:c', '::'])('refuses %j: no form of a user', (field) => {
    const facts = { document: 'config', field: '$.config.User', user: field }
    expect(refusal(() => resolveUser(field, PASSWD, GROUP))).toEqual({ code: 'config-invalid', facts })
  })

  it('refuses more groups than a process can have', () => {
    const lines = Array.from({ length: 65_537 }, (_, gid) => `g${gid}:x:${gid}:web`)
    const refused = refusal(() => resolveUser('web', PASSWD, Buffer.from(lines.join('\n'))))
    expect(refused).toEqual({ code: 'limit-exceeded', facts: { user: 'web', groups: 65_537, limit: 65_536 } })
  })

  it('keeps control characters of a name out of the message', () => {
    expect(() => resolveUser('a\x1b[2J\nb', PASSWD, GROUP)).toThrow('user "a\\x1b[2J\\x0ab"')
  })

  it('gives ids in range or an ImageError, whatever the files hold', () => {
    const line = fc.stringMatching(/^[a-c:x0-9,\r-]{0,24}$/)
    const file = fc.array(line, { maxLength: 8 }).map((lines) => Buffer.from(lines.join('\n')))
    fc.assert(
      fc.property(fc.stringMatching(/^[a-c0-9:-]{0,12}$/), file, file, (field, passwd, group) => {
        try {
          const { uid, gid, additionalGids } = resolveUser(field, passwd, group)
          for (const id of [uid, gid, ...additionalGids]) {
            expect(Number.isInteger(id) && id >= 0 && id < 2 ** 32 - 1).toBe(true)
          }
        } catch (error) {
          expect(error).toBeInstanceOf(ImageError)
        }
      }),
    )
  })
})

function refusal(call: () => unknown) {
  try {
    call()
  } catch (error) {
    if (error instanceof ImageError) return { code: error.code, facts: error.facts }
    throw error
  }
  throw new Error('nothing was refused')
}
