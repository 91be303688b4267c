/**
 * That the machine is what the other groups take it for.
 */
import assert from 'node:assert/strict'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { type AddressInfo, connect, createServer, type Server } from 'node:net'
import { release } from 'node:os'
import type { Checks } from './check.js'

export const CHECKS = {
  'runs Linux 6.12': () => {
    assert.match(release(), /^6\.12\./)
  },

  'has overlay and EROFS': () => {
    const known = readFileSync('/proc/filesystems', 'utf8').split(/\s+/)
    assert.deepEqual(
      ['overlay', 'erofs'].filter((type) => !known.includes(type)),
      [],
    )
  },

  'has loop devices': () => {
    assert.ok(readdirSync('/dev').includes('loop-control'))
  },

  'has an empty disk that can be written': ({ data }) => {
    assert.deepEqual(
      readdirSync(data).filter((name) => name !== 'lost+found'),
      [],
    )
    writeFileSync(`${data}/first`, 'written')
    assert.equal(readFileSync(`${data}/first`, 'utf8'), 'written')
  },

  'answers itself on the loopback interface': async () => {
    const server = createServer((socket) => socket.end('here'))
    const { port } = await listening(server)
    try {
      let answer = ''
      for await (const text of connect(port, '127.0.0.1').setEncoding('utf8')) answer += text
      assert.equal(answer, 'here')
    } finally {
      server.close()
    }
  },
} satisfies Checks

function listening(server: Server): Promise<AddressInfo> {
  return new Promise((settle, reject) => {
    server.on('error', reject)
    // A server that listens on a port has an address of that form.
    server.listen(0, '127.0.0.1', () => settle(server.address() as AddressInfo))
  })
}
