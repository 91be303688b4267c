import { describe, expect, it } from 'vitest'
import { AbortedError, BusyError, ExistsError, NotFoundError } from '../../lib/index.js'
import { BUNDLE, CLEAN, groot, result } from './fake-library.js'

describe('create', () => {
  it('prints the path of the bundle and nothing else', async () => {
    const { status, stdout, stderr, opened, closed, calls } = await result('create oci:dir:x web')
    expect({ status, stdout, stderr, closed }).toEqual({
      status: 0,
      stdout: '/s/bundles/web\n',
      stderr: 'groot: warning: This is odd\n',
      closed: 1,
    })
    expect(opened).toEqual([{ path: '/s', make: true, thread: 'caller' }])
    expect(calls).toEqual([
      [
        'create',
        {
          image: 'oci:dir:x',
          id: 'web',
          readOnly: false,
          withoutMount: false,
          ignoreOwnership: false,
          insecureRegistries: [],
          registry: { environment: {} },
          limits: {},
        },
      ],
    ])
  })

  it('prints one JSON object with --json', async () => {
    const { stdout } = await result('create --json oci:dir:x web')
    expect(stdout).toBe(
      '{"id":"web","bundle":"/s/bundles/web","rootfs":"/s/bundles/web/rootfs","image":{"reference":"oci:dir\\u202e:x","digest":"sha256:aa"},"digest":"d1","driver":"vfs","mounts":[]}\n',
    )
  })

  it('hands on every option', async () => {
    const line =
      'create --driver vfs --platform linux/arm/v7 --read-only --without-mount --verity try --pull never --expect-digest aa --ignore-ownership --insecure-registry a:1 --insecure-registry b --max-file-bytes 1KiB --max-total-bytes 1MiB --lock-timeout 90s --username me --password-stdin --authfile auth.json --certs-dir /c --registries-conf ../r.conf oci:d web'
    const { calls, opened } = await result(line, { input: 'sec\nret\n\n' })
    expect(opened).toEqual([{ path: '/s', driver: 'vfs', make: true, thread: 'caller' }])
    expect(calls).toEqual([
      [
        'create',
        {
          image: 'oci:d',
          id: 'web',
          platform: 'linux/arm/v7',
          readOnly: true,
          withoutMount: true,
          verity: 'try',
          pull: 'never',
          expectDigest: 'aa',
          ignoreOwnership: true,
          insecureRegistries: ['a:1', 'b'],
          credentials: { username: 'me', password: 'sec\nret\n' },
          registry: {
            environment: {},
            authFile: '/work/auth.json',
            certsDirectory: '/c',
            registriesConf: '/r.conf',
          },
          lockTimeoutMs: 90_000,
          limits: { maxFileBytes: 1024, maxTotalBytes: 1_048_576 },
        },
      ],
    ])
  })

  it('cleans first and leaves out syncs when told to', async () => {
    const { calls } = await result('create --with-clean --threshold-bytes 1GiB --no-sync oci:d web')
    expect(calls).toMatchObject([['create', { withClean: { thresholdBytes: 2 ** 30 }, noSync: true }]])
    expect((await result('create --with-clean oci:d web')).calls).toMatchObject([
      ['create', { withClean: {} }],
    ])
    expect((await result('pull --no-sync oci:d')).calls).toMatchObject([['pull', { noSync: true }]])
  })

  it('refuses a threshold without a clean that it is for', async () => {
    const { status, calls } = await result('create --threshold-bytes 1GiB oci:d web')
    expect([status, calls]).toEqual([2, []])
  })

  it.each([
    ['a password', 'a password'],
    ['crlf\r\n', 'crlf'],
    [' kept ', ' kept '],
  ])('reads %j from standard input as the password %j', async (input, password) => {
    const { calls } = await result('create --username me --password-stdin oci:d web', { input })
    expect(calls).toMatchObject([['create', { credentials: { username: 'me', password } }]])
  })

  it('puts a password together that comes in pieces', async () => {
    const bytes = Buffer.from('pässwörd')
    const input = [...bytes].map((byte) => Uint8Array.of(byte))
    const { calls } = await result('create --username me --password-stdin oci:d web', { input })
    expect(calls).toMatchObject([['create', { credentials: { password: 'pässwörd' } }]])
  })

  it.each([
    ['--username me', 'a', 'Cannot use --username: it needs --password-stdin too'],
    ['--password-stdin', 'a', 'Cannot use --password-stdin: it needs --username too'],
    ['--username me --password-stdin', '\n', 'Cannot read the password: standard input is empty'],
    [
      '--username me --password-stdin',
      'x'.repeat(65_537),
      'Cannot read the password: it is longer than 65536 bytes',
    ],
  ])('with %s is refused before the store is opened', async (options, input, message) => {
    const { status, stdout, stderr, opened } = await result(`create ${options} oci:d web`, { input })
    expect({ status, stdout, opened }).toEqual({ status: 2, stdout: '', opened: [] })
    expect(stderr).toContain(`groot: ${message}`)
    expect(stderr).not.toContain('xxx')
  })

  it('does not touch standard input without --password-stdin', async () => {
    expect((await result('create oci:d web')).reads).toBe(0)
  })

  it.each<[string, readonly string[], object]>([
    ['the argument "oci:a\ufffd"', ['create', 'oci:a\ufffd', 'web'], {}],
    ['the argument "--store=/a\ufffd"', ['list', '--store=/a\ufffd'], {}],
    ['the variable GROOT_STORE "/a\ufffd"', ['list'], { env: { GROOT_STORE: '/a\ufffd' } }],
    ['the working directory "/a\ufffd"', ['list'], { cwd: () => '/a\ufffd' }],
  ])('refuses %s, which had bytes that are lost', async (what, argv, wish) => {
    const { status, opened, stderr } = await result(argv, wish)
    expect({ status, opened, stderr }).toEqual({
      status: 2,
      opened: [],
      stderr: `groot: Cannot use ${what}: it is not UTF-8\n`,
    })
  })

  it.each(['', '.', '..', 'a/b', '-x', 'a b', 'a\nb', 'ä', 'x'.repeat(129)])(
    'refuses the id %j before anything is touched',
    async (id) => {
      for (const argv of [
        ['create', '--', 'oci:d', id],
        ['stats', '--', id],
        ['delete', '--', 'web', id],
      ]) {
        const { status, stdout, opened, stderr } = await result([
          ...argv.slice(0, 1),
          '--log-format',
          'json',
          ...argv.slice(1),
        ])
        expect({ status, stdout, opened }).toEqual({ status: 2, stdout: '', opened: [] })
        expect(JSON.parse(stderr)).toMatchObject({
          level: 'error',
          code: 'id-invalid',
          kind: 'usage',
          exitStatus: 2,
        })
      }
    },
  )

  it('tells an error, closes the store, and ends with the status of the error', async () => {
    const create = async () => {
      throw new ExistsError('bundle-exists', 'Cannot create bundle "web": there is one', {
        facts: { id: 'web' },
      })
    }
    const { status, stdout, stderr, closed } = await (await groot('create oci:d web')).withStore({ create })
    expect({ status, stdout, stderr, closed }).toEqual({
      status: 12,
      stdout: '',
      stderr: 'groot: Cannot create bundle "web": there is one\n',
      closed: 1,
    })
  })

  it('that is stopped ends with the status of the signal', async () => {
    const stop = new AbortController()
    const create = async () => {
      stop.abort(new AbortedError('Cannot go on: stopped by SIGTERM', { facts: { signal: 'SIGTERM' } }))
      throw new AbortedError()
    }
    const run = await groot('create oci:d web', { signal: stop.signal })
    const { status, stderr } = await run.withStore({ create })
    expect({ status, stderr }).toEqual({ status: 143, stderr: 'groot: Cannot go on: stopped by SIGTERM\n' })
  })
})

describe('delete', () => {
  it('says nothing when it worked', async () => {
    const { status, stdout, stderr, calls } = await result('delete --lock-timeout 0 web')
    expect({ status, stdout, stderr, calls }).toEqual({
      status: 0,
      stdout: '',
      stderr: '',
      calls: [['delete', 'web', 0]],
    })
  })

  it('notes what is not there, and is content', async () => {
    const { status, stdout, stderr } = await result('delete gone web')
    expect({ status, stdout, stderr }).toEqual({
      status: 0,
      stdout: '',
      stderr: 'groot: warning: There is no bundle "gone"\n',
    })
  })

  it('is not content with --must-exist', async () => {
    const { status, stderr, calls } = await result('delete --must-exist gone web')
    expect({ status, stderr }).toEqual({
      status: 13,
      stderr: 'groot: Cannot delete bundle "gone": there is none with this id\n',
    })
    expect(calls).toHaveLength(2)
  })

  it('tries all, and the first failure decides', async () => {
    const run = await groot('delete --must-exist busy gone web web')
    run.store.known.set('busy', new BusyError('mount-busy', 'Cannot unmount "busy"'))
    const { status, stderr, calls, closed } = await run.withStore()
    expect({ status, closed, calls: calls.map((call) => (call as string[])[1]) }).toEqual({
      status: 11,
      closed: 1,
      calls: ['busy', 'gone', 'web'],
    })
    expect(stderr.split('\n')).toHaveLength(3)
  })

  it('stops between two bundles when it is told to', async () => {
    const stop = new AbortController()
    const run = await groot('delete web web-2', { signal: stop.signal })
    const remove = async (id: string) => {
      stop.abort(new AbortedError('Cannot go on: stopped by SIGINT', { facts: { signal: 'SIGINT' } }))
      return { id, existed: true }
    }
    expect(await run.withStore({ delete: remove })).toMatchObject({ status: 130, closed: 1 })
  })
})

describe('a store that is not there', () => {
  const note = 'groot: warning: There is no store at "/s" yet; the first create makes it\n'

  it.each([
    ['list', 0, '', note],
    ['list --json', 0, '[]\n', note],
    [
      'check',
      0,
      'Checked 0 objects, 0 layers, 0 image documents, 0 bases, 0 bundles: read 0 bytes, no problems\n',
      note,
    ],
    ['delete web', 0, '', `${note}groot: warning: There is no bundle "web"\n`],
    [
      'delete --must-exist web',
      13,
      '',
      `${note}groot: Cannot delete bundle "web": there is none with this id\n`,
    ],
    ['stats web', 13, '', `${note}groot: Cannot show bundle "web": there is none with this id\n`],
    ['mount --all', 0, '', note],
    ['mount web web', 13, '', `${note}groot: Cannot mount bundle "web": there is none with this id\n`],
    [
      'unmount web web-2',
      13,
      '',
      `${note}groot: Cannot unmount bundle "web": there is none with this id\ngroot: Cannot unmount bundle "web-2": there is none with this id\n`,
    ],
  ])('is not made by %s', async (line, status, stdout, stderr) => {
    const ran = await result(line, { storeMissing: true })
    expect(ran).toMatchObject({ status, stdout, stderr, opened: [{ path: '/s', make: false }] })
  })
})

describe('list', () => {
  it('prints one id per line', async () => {
    expect(await result('list')).toMatchObject({ status: 0, stdout: 'web\nweb-2\n', stderr: '' })
  })

  it('prints an array of objects with --json, on one line', async () => {
    const { stdout } = await result('list --json')
    expect(stdout.split('\n')).toHaveLength(2)
    expect(JSON.parse(stdout)).toEqual([BUNDLE, { ...BUNDLE, id: 'web-2' }])
  })
})

describe('mount and unmount', () => {
  it('tell the store each id, and go on after a failure', async () => {
    const { calls, status } = await result('mount --lock-timeout 1s web other')
    expect([calls, status]).toEqual([
      [
        ['mount', 'web', 1000],
        ['mount', 'other', 1000],
      ],
      0,
    ])
  })

  it('take all bundles that the runtime does not mount', async () => {
    expect((await result('unmount --all')).calls).toEqual([
      ['unmount', 'web', undefined],
      ['unmount', 'web-2', undefined],
    ])
  })

  it('tell of each failure, and the first one decides', async () => {
    const run = await groot('mount web gone web-2')
    const mount = async (id: string) => {
      if (id === 'gone') throw new NotFoundError('bundle-missing', `Cannot mount "${id}"`)
      throw new BusyError('mount-busy', `Cannot mount "${id}"`)
    }
    expect(await run.withStore({ mount })).toMatchObject({
      status: 11,
      stderr: 'groot: Cannot mount "web"\ngroot: Cannot mount "gone"\ngroot: Cannot mount "web-2"\n',
    })
  })

  it.each(['mount', 'unmount'] as const)('%s passes over what went since all were listed', async (verb) => {
    const run = await groot(`${verb} --all`)
    const done: string[] = []
    const work = async (id: string) => {
      if (id === 'web') throw new NotFoundError('bundle-missing', `Cannot ${verb} "${id}"`)
      done.push(id)
      return { id, changed: true }
    }
    expect(await run.withStore({ [verb]: work })).toMatchObject({ status: 0, stderr: '' })
    expect(done).toEqual(['web-2'])
  })

  it.each(['mount', 'unmount', 'mount --all web'])('%s is refused', async (line) => {
    expect(await result(line)).toMatchObject({ status: 2, calls: [] })
  })
})

describe('digest and pull', () => {
  it('print the digest of the tree, and that of the manifest', async () => {
    expect(await result('digest --pull never oci:d')).toMatchObject({ status: 0, stdout: 'd1\n' })
    expect(await result('pull oci:d')).toMatchObject({ status: 0, stdout: 'sha256:aa\n' })
    const json = '{"image":{"reference":"oci:dir\\u202e:x","digest":"sha256:aa"},"digest":"d1"}\n'
    expect((await result('digest --json oci:d')).stdout).toBe(json)
    expect((await result('pull --json oci:d')).stdout).toBe(json)
  })
})

describe('stats', () => {
  it.each(['stats web', 'stats --json web'])('%s prints the shape of GrootFS', async (line) => {
    const stdout =
      '{"disk_usage":{"total_bytes_used":5,"exclusive_bytes_used":3},"digest":"d1","disk_limit":null}\n'
    expect(await result(line)).toMatchObject({ status: 0, stdout, stderr: '' })
  })

  it('of a bundle that is not there fails', async () => {
    expect(await result('stats gone')).toMatchObject({ status: 13, stdout: '' })
  })
})

describe('limit', () => {
  it('hands on the size, as create reads it', async () => {
    const { calls, ...answer } = await result('limit --lock-timeout 2s web 4GiB')
    expect(answer).toMatchObject({ status: 0, stdout: '', stderr: '' })
    expect(calls).toEqual([['limit', 'web', { lockTimeoutMs: 2000, diskLimitSizeBytes: 4 * 1024 ** 3 }]])
  })

  it('answers in JSON when asked', async () => {
    const stdout =
      '{"id":"web","disk_limit":{"size_bytes":4096,"exclude_image":false,"writable_bytes":5,"backend":"native"}}\n'
    expect(await result('limit --json web 4096')).toMatchObject({ status: 0, stdout })
  })

  it('names what is wrong as its own operand', async () => {
    const { stderr } = await result('limit web 1G')
    expect(stderr).toContain('Cannot use "1G" for the limit: it needs a number of bytes')
  })

  it.each(['limit web', 'limit web much', 'limit web -1'])('%s is refused', async (line) => {
    expect(await result(line)).toMatchObject({ status: 2, stdout: '' })
  })
})

describe('check', () => {
  const problem = {
    code: 'object-damaged',
    what: 'object',
    name: 'ab\x1b[2Jcd',
    message: 'Cannot trust it',
    repaired: false,
  }
  const damaged = { ...CLEAN, problems: [problem] }

  it('prints what it has read', async () => {
    expect(await result('check')).toMatchObject({
      status: 0,
      stdout: 'Checked 1 object, 2 layers, 3 image documents, 1 base, 1 bundle: read 2.0 KiB, no problems\n',
    })
  })

  it('says what a repair did, and ends with 0 when all is mended', async () => {
    const mended = { ...problem, repaired: true, remedy: 'read again' }
    const ran = await (await groot('check --repair')).withStore({ report: { ...CLEAN, problems: [mended] } })
    expect(ran).toMatchObject({
      status: 0,
      stdout: expect.stringMatching(
        /Cannot trust it; repaired: read again\n.* found 1 problem, repaired 1\n$/,
      ),
    })
    const lost = { ...problem, remedy: 'it is lost' }
    const rest = await (await groot('check --repair')).withStore({
      report: { ...CLEAN, problems: [mended, lost] },
    })
    expect(rest).toMatchObject({
      status: 16,
      stdout: expect.stringContaining('; not repaired: it is lost\n'),
    })
  })

  it('prints problems first, and ends with 16', async () => {
    const ran = await (await groot('check')).withStore({ report: damaged })
    expect(ran).toMatchObject({
      status: 16,
      stdout:
        'object ab\\x1b[2Jcd: object-damaged: Cannot trust it\nChecked 1 object, 2 layers, 3 image documents, 1 base, 1 bundle: read 2.0 KiB, found 1 problem\n',
    })
  })

  it('prints the report with --json', async () => {
    const { status, stdout } = await (await groot('check --json')).withStore({ report: damaged })
    expect(status).toBe(16)
    expect(JSON.parse(stdout)).toEqual(damaged)
  })
})

describe('stores', () => {
  it('are made by init-store, which prints the path', async () => {
    expect(await result('--store /x init-store --driver vfs')).toMatchObject({
      status: 0,
      stdout: '/x\n',
      stderr: '',
    })
    const { stdout, stderr } = await result('--log-level info init-store --json')
    expect(stdout).toBe('{"path":"/s","driver":"vfs","id":"uuid","notes":["a note"]}\n')
    expect(stderr).toBe('groot: a note\n')
  })

  it('are deleted by delete-store, with bundles only when forced', async () => {
    expect(await result('delete-store')).toMatchObject({
      status: 10,
      stdout: '',
      stderr: 'groot: Cannot delete store "/s": it has 1 bundle\n',
    })
    expect(await result('delete-store --force')).toMatchObject({
      status: 0,
      stdout: '',
      opened: [['delete-store', { path: '/s', force: true }]],
    })
  })
})

describe('the command', () => {
  it('shows help on stderr and fails when nothing is said', async () => {
    const { status, stdout, stderr } = await result([])
    expect({ status, stdout }).toEqual({ status: 2, stdout: '' })
    expect(stderr).toMatch(/^groot \[options\] VERB …\n/)
  })

  it('shows help on stdout when asked', async () => {
    const { status, stdout, stderr } = await result('create --help')
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
    expect(stdout).toMatch(
      /^groot create \[options\] IMAGE ID\n[\s\S]*--platform[\s\S]*--store[\s\S]*Examples:\n/,
    )
    for (const line of stdout.split('\n')) expect(line.length).toBeLessThanOrEqual(80)
  })

  it('shows its version', async () => {
    expect(await result('--version')).toMatchObject({ status: 0, stdout: 'groot 1.2.3\n', stderr: '' })
  })

  it('tells a wrong line in the format that it asks for', async () => {
    const { status, stdout, stderr } = await result('lst --log-format json')
    expect({ status, stdout }).toEqual({ status: 2, stdout: '' })
    expect(JSON.parse(stderr)).toEqual({
      level: 'error',
      code: 'usage-invalid',
      kind: 'usage',
      exitStatus: 2,
      message: 'Cannot run "lst": there is no such verb, did you mean "list"? Else see groot --help',
      facts: { verb: 'lst', suggestion: 'list' },
    })
  })

  it('tells more on a terminal', async () => {
    const terminal = { isTerminal: true, columns: 80 }
    expect((await result('init-store', { terminal })).stderr).toBe('groot: a note\n')
    expect((await result('init-store --log-level warn', { terminal })).stderr).toBe('')
  })

  it('is quiet about a reader that closed the pipe, and not about a full disk', async () => {
    const failing = (code: string) => async () => {
      throw Object.assign(new Error(`${code}: cannot write`), { code })
    }
    expect(await result('list', { writeAnswer: failing('EPIPE') })).toMatchObject({ status: 0, stderr: '' })
    expect(await result('list --log-format json', { writeAnswer: failing('ENOSPC') })).toMatchObject({
      status: 20,
      stderr:
        '{"level":"error","code":"system-call","kind":"system","exitStatus":20,"message":"Cannot write the answer to standard output: ENOSPC: cannot write","facts":{"syscall":"write","path":"stdout","errno":"ENOSPC"}}\n',
    })
  })

  it('tells its own faults in one line with a hint', async () => {
    const list = async () => {
      throw new TypeError('x is not a function')
    }
    const { status, stderr, closed } = await (await groot('list')).withStore({ list })
    expect({ status, stderr, closed }).toEqual({
      status: 70,
      stderr:
        'groot: Cannot finish list: x is not a function (a fault in groot; --log-level debug tells where)\n',
      closed: 1,
    })
  })
})
