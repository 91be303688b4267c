/**
 * What docs/registries.md shows is read as it says.
 */
import { existsSync, readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { OPTIONS } from '../../cli/options.js'
import { parseHostsToml } from '../../lib/config/hosts-toml.js'
import { registryEnvironment } from '../../lib/index.js'

const page = readFileSync(new URL('../../docs/registries.md', import.meta.url), 'utf8')

describe('docs/registries.md', () => {
  it('has a hosts.toml with every key, and no other', () => {
    const [, text = ''] = /```toml\n([\s\S]*?)\n```/.exec(page) ?? []
    const { hosts, server, unknown } = parseHostsToml(text, '/hosts.toml')
    expect({ unknown, server: server?.host }).toEqual({ unknown: [], server: 'registry.example' })
    expect(hosts).toEqual([
      {
        scheme: 'https',
        host: 'mirror.example:5000',
        path: '/v2',
        capabilities: new Set(['pull', 'resolve']),
        ca: ['mirror.crt'],
        client: [{ cert: 'client.crt', key: 'client.key' }],
        skipVerify: false,
        dialTimeoutMs: 5000,
        headers: { 'x-team': 'build' },
      },
    ])
  })

  it('has the variables and options that there are', () => {
    const words = [...page.matchAll(/`\$?([A-Z_]{4,})[`/]/g)].map(([, word]) => word!)
    const environment = registryEnvironment(Object.fromEntries(words.map((word) => [word, 'x'])))
    const places = words.filter((word) => word !== 'HOST_PORT_')
    expect(Object.keys(environment).sort()).toEqual([...new Set(places)].sort())
    const options = [...page.matchAll(/`--([a-z-]+)/g)].map(([, option]) => option!)
    expect(options.filter((option) => !Object.hasOwn(OPTIONS, option))).toEqual([])
  })

  it('names tests that there are', () => {
    const tests = [...page.matchAll(/`(test\/[^`*]+\.ts)`/g)].map(([, path]) => path!)
    expect(tests.length).toBeGreaterThan(20)
    const root = new URL('../../', import.meta.url)
    expect(tests.filter((path) => !existsSync(new URL(path, root)))).toEqual([])
  })
})
