import { describe, expect, it } from 'vitest'
import type { OptionValues } from '../../cli/options.js'
import { type Surroundings, settingsOf } from '../../cli/settings.js'

const settings = (options: OptionValues, env: Surroundings['env'], uid = 1000) =>
  settingsOf(options, { env, uid, cwd: () => '/work/dir' })

describe('the store', () => {
  it.each([
    ['/var/lib/groot', {}, {}, 0],
    ['/var/lib/groot', {}, { HOME: '/root', XDG_DATA_HOME: '/root/data' }, 0],
    ['/home/u/.local/share/groot', {}, { HOME: '/home/u' }, 1000],
    ['/data/groot', {}, { HOME: '/home/u', XDG_DATA_HOME: '/data' }, 1000],
    ['/home/u/.local/share/groot', {}, { HOME: '/home/u', XDG_DATA_HOME: 'data' }, 1000],
    ['/home/u/.local/share/groot', {}, { HOME: '/home/u', XDG_DATA_HOME: '', GROOT_STORE: '' }, 1000],
    ['/env', {}, { HOME: '/home/u', GROOT_STORE: '/env' }, 0],
    ['/work/dir/env', {}, { GROOT_STORE: 'env' }, 1000],
    ['/flag', { store: '/flag' }, { GROOT_STORE: '/env' }, 1000],
    ['/work/flag', { store: '../flag/' }, {}, 1000],
  ])('is %s', (store, options, env, uid) => {
    expect(settings(options, env, uid)).toEqual({ store, driver: undefined })
  })

  it('has to be named where no home is known', () => {
    expect(() => settings({}, { HOME: 'relative' })).toThrow(
      expect.objectContaining({ code: 'usage-invalid' }),
    )
  })

  it('cannot have a path that would break a line', () => {
    expect(() => settings({}, { GROOT_STORE: '/a\nb' })).toThrow(
      expect.objectContaining({
        code: 'option-invalid',
        message: 'Cannot use "/a\\x0ab" as the store: its path has control characters',
      }),
    )
  })

  it('does not ask for the working directory when the path is absolute', () => {
    const cwd = () => {
      throw new Error('it is gone')
    }
    expect(settingsOf({ store: '/s' }, { env: {}, uid: 0, cwd }).store).toBe('/s')
  })
})

describe('the driver', () => {
  it.each([
    [undefined, {}, {}],
    [undefined, {}, { GROOT_DRIVER: '' }],
    ['btrfs', {}, { GROOT_DRIVER: 'btrfs' }],
    ['vfs', { driver: 'vfs' }, { GROOT_DRIVER: 'btrfs' }],
  ])('is %s', (driver, options, env) => {
    expect(settings(options, env, 0)).toEqual({ store: '/var/lib/groot', driver })
  })
})
