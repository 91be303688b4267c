import { describe, expect, it } from 'vitest'
import { sha256 } from '../../../lib/digest.js'
import type { GrootError } from '../../../lib/errors.js'
import { parseConfig } from '../../../lib/image/config.js'

const diffId = sha256(Buffer.from('tar'))
const least = { os: 'linux', architecture: 'amd64', rootfs: { type: 'layers', diff_ids: [diffId] } }

function parse(document: unknown) {
  return parseConfig(Buffer.from(JSON.stringify(document)))
}

function failure(document: unknown): GrootError {
  try {
    parse(document)
  } catch (error) {
    return error as GrootError
  }
  throw new Error('it was accepted')
}

const nothing = { env: [], entrypoint: [], cmd: [], exposedPorts: [], volumes: [], labels: {} }

describe('configs', () => {
  it('are read whole', () => {
    const document = {
      ...least,
      variant: 'v2',
      'os.version': '1.2',
      'os.features': ['a'],
      created: '2024-01-02T03:04:05Z',
      author: 'someone',
      config: {
        User: 'app:staff',
        Env: ['PATH=/bin', 'EMPTY='],
        Entrypoint: ['/bin/sh', '-c'],
        Cmd: ['echo', ''],
        WorkingDir: '/srv',
        StopSignal: 'SIGINT',
        ExposedPorts: { '80/tcp': {}, '53/udp': {} },
        Volumes: { '/data': {} },
        Labels: { a: 'b' },
        OnBuild: null,
      },
      history: [{ empty_layer: true }, {}],
    }
    expect(parse(document)).toEqual({
      os: 'linux',
      architecture: 'amd64',
      variant: 'v2',
      osVersion: '1.2',
      osFeatures: ['a'],
      created: '2024-01-02T03:04:05Z',
      author: 'someone',
      diffIds: [diffId],
      process: {
        user: 'app:staff',
        env: ['PATH=/bin', 'EMPTY='],
        entrypoint: ['/bin/sh', '-c'],
        cmd: ['echo', ''],
        workingDir: '/srv',
        stopSignal: 'SIGINT',
        exposedPorts: ['80/tcp', '53/udp'],
        volumes: ['/data'],
        labels: { a: 'b' },
      },
    })
  })

  it('take null and empty words for what was not said, as Docker writes them', () => {
    const config = {
      User: '',
      Env: null,
      Entrypoint: null,
      Cmd: null,
      WorkingDir: '',
      Volumes: null,
      Labels: null,
    }
    expect(parse({ ...least, variant: '', created: null, config })).toEqual({
      os: 'linux',
      architecture: 'amd64',
      diffIds: [diffId],
      process: nothing,
    })
    expect(parse({ ...least, config: null }).process).toEqual(nothing)
    expect(parse(least).process).toEqual(nothing)
  })

  it('of an image without layers have no diff ids', () => {
    expect(parse({ ...least, rootfs: { type: 'layers', diff_ids: null } }).diffIds).toEqual([])
  })

  it('have diff ids by either algorithm', () => {
    const long = `sha512:${'ab'.repeat(64)}`
    expect(parse({ ...least, rootfs: { type: 'layers', diff_ids: [long] } }).diffIds).toEqual([long])
  })

  it.each<[string, unknown, string]>([
    ['no operating system', { ...least, os: undefined }, '$.os'],
    ['an empty architecture', { ...least, architecture: '' }, '$.architecture'],
    ['no rootfs', { ...least, rootfs: undefined }, '$.rootfs'],
    ['a rootfs of another type', { ...least, rootfs: { type: 'x', diff_ids: [] } }, '$.rootfs.type'],
    [
      'a diff id that is none',
      { ...least, rootfs: { type: 'layers', diff_ids: [diffId, 'sha256:1'] } },
      '$.rootfs.diff_ids[1]',
    ],
    ['a config that is a list', { ...least, config: [] }, '$.config'],
    ['a user that is a number', { ...least, config: { User: 0 } }, '$.config.User'],
    ['a command that is one text', { ...least, config: { Cmd: 'sh' } }, '$.config.Cmd'],
    ['an argument that is null', { ...least, config: { Entrypoint: ['a', null] } }, '$.config.Entrypoint[1]'],
    ['a variable with NUL', { ...least, config: { Env: ['A=b\u0000c'] } }, '$.config.Env[0]'],
    ['a volume with NUL', { ...least, config: { Volumes: { '/a\u0000': {} } } }, '$.config.Volumes'],
    ['a directory with NUL', { ...least, config: { WorkingDir: '/\u0000' } }, '$.config.WorkingDir'],
    ['volumes that are a list', { ...least, config: { Volumes: ['/a'] } }, '$.config.Volumes'],
    ['a label that is a number', { ...least, config: { Labels: { a: 1 } } }, '$.config.Labels.a'],
  ])('are refused with %s', (_, document, field) => {
    expect(failure(document)).toMatchObject({ kind: 'image', code: 'config-invalid', facts: { field } })
  })
})
