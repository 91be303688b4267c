/**
 * A large pull over a link that breaks again and again: it completes, fetches next to nothing twice, and its memory does
 * not grow with the blob. `GROOT_BIG_PULL=1` makes it a gigabyte that is cut every 50 MB.
 */
import { spawn } from 'node:child_process'
import { createHash, type Hash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import type { IncomingMessage, ServerResponse } from 'node:http'
import net, { type AddressInfo } from 'node:net'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Digest } from '../../lib/digest.js'
import { OCI_CONFIG, OCI_LAYER, OCI_MANIFEST } from '../../lib/image/media-types.js'
import { layer } from '../../lib/testkit/layer.js'
import { AS_ROOT, Place } from '../lib/operations/testing.js'
import { type FakeRegistry, REPOSITORY, startRegistry } from '../lib/registry/fake-registry.js'
import { blob, requests, script } from '../lib/registry/faults.js'

const LIBRARY = new URL('../../dist/lib/index.js', import.meta.url)
const isBig = process.env.GROOT_BIG_PULL === '1'
const MB = 1_000_000
const SIZE = isBig ? 1_000 * MB : 40 * MB
const CUT = isBig ? 50 * MB : 8 * MB
const MAX_RSS = 300 * MB

const BLOCK = 1024 * 1024
const NOISE = randomBytes(BLOCK)

/** The tar of a layer with one file of noise that does not repeat, any part of which can be made at once. */
class BigLayer {
  readonly size: number
  readonly digest: Digest
  readonly #head: Buffer

  constructor(fileBytes: number) {
    // The header of a file that says another size, with its checksum corrected.
    this.#head = Buffer.from(layer().file('noise', 'x').build().subarray(0, 512))
    this.#head.write(`${fileBytes.toString(8).padStart(11, '0')} `, 124, 'latin1')
    this.#head.fill(0x20, 148, 156)
    const sum = this.#head.reduce((total, byte) => total + byte, 0)
    this.#head.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1')
    this.size = 512 + fileBytes + 1024
    const hash: Hash = createHash('sha256')
    for (let at = 0; at < this.size; at += BLOCK) hash.update(this.read(at, Math.min(this.size, at + BLOCK)))
    this.digest = `sha256:${hash.digest('hex')}` as Digest
  }

  /** At most one block. */
  read(from: number, to: number): Buffer {
    const number = Math.floor(from / BLOCK)
    const two = Buffer.concat([this.#block(number), this.#block(number + 1)])
    return two.subarray(from - number * BLOCK, to - number * BLOCK)
  }

  #block(number: number): Buffer {
    const block = Buffer.from(NOISE)
    block.writeUInt32LE(number, 1024)
    if (number === 0) this.#head.copy(block)
    return block.fill(0, Math.min(BLOCK, Math.max(0, this.size - 1024 - number * BLOCK)))
  }
}

/** Sends the part that is asked for, as fast as it is taken. */
async function serve(big: BigLayer, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const from = Number(/^bytes=([0-9]+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0)
  const range = { 'content-range': `bytes ${from}-${big.size - 1}/${big.size}` }
  response.writeHead(from > 0 ? 206 : 200, { 'content-length': big.size - from, ...(from > 0 ? range : {}) })
  for (let at = from; at < big.size && !response.destroyed; at += BLOCK) {
    const more = response.write(big.read(at, Math.min(big.size, at + BLOCK)))
    if (!more) await drained(response)
  }
  response.end()
}

async function drained(response: ServerResponse): Promise<void> {
  const over = new AbortController()
  const either = ['drain', 'close'].map((event) => once(response, event, { signal: over.signal }))
  await Promise.race(either).finally(() => over.abort())
  await Promise.allSettled(either)
}

/** A link to a registry that breaks whenever it has carried so much. */
async function startLink(registry: FakeRegistry, cut: number) {
  const state = { cuts: 0 }
  const sockets = new Set<net.Socket>()
  const server = net.createServer((near) => {
    const far = net.connect(Number(registry.host.split(':')[1]), '127.0.0.1')
    let carried = 0
    for (const socket of [near, far]) {
      sockets.add(socket)
      socket.on('error', () => {})
    }
    near.on('close', () => far.destroy())
    far.on('close', () => near.end())
    near.pipe(far)
    far.on('data', (piece) => {
      if (carried + piece.length > cut) {
        // In turns as a router does it that restarts, and as a proxy whose time is over.
        if (state.cuts++ % 2 === 0) near.resetAndDestroy()
        else near.destroySoon()
        return void far.destroy()
      }
      carried += piece.length
      if (near.write(piece)) return
      far.pause()
      near.once('drain', () => far.resume())
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    state,
    host: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

let place: Place
let registry: FakeRegistry
beforeEach(async () => {
  place = new Place()
  registry = await startRegistry()
})
afterEach(async () => {
  await registry[Symbol.asyncDispose]()
  place.remove()
})

/** Creates a bundle in a process of its own. @returns its largest memory, and how many bytes it got from the network */
async function createElsewhere(image: string): Promise<{ readonly rss: number; readonly fetched: number }> {
  const request = { image, id: 'b1', platform: 'linux/amd64', ignoreOwnership: !AS_ROOT }
  const code = `
    import { subscribe } from 'node:diagnostics_channel'
    const sockets = []
    subscribe('net.client.socket', ({ socket }) => void sockets.push(socket))
    const { openStore } = await import(${JSON.stringify(LIBRARY.href)})
    const store = await openStore({ path: ${JSON.stringify(place.store)}, thread: 'caller' })
    await store.create(${JSON.stringify(request)})
    await store.close()
    const fetched = sockets.reduce((sum, { bytesRead }) => sum + bytesRead, 0)
    console.log(JSON.stringify({ rss: process.resourceUsage().maxRSS * 1024, fetched }))`
  const child = spawn(process.execPath, ['--input-type=module', '--eval', code], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const texts = await Promise.all([child.stdout.toArray(), child.stderr.toArray()])
  const [out, err] = texts.map((pieces) => Buffer.concat(pieces).toString())
  if (out === '') throw new Error(`It failed: ${err}`)
  return JSON.parse(out!)
}

describe('a link that is cut again and again', () => {
  it(`lets ${SIZE / MB} MB through, ${CUT / MB} MB at a time, with at most 2 % twice and less than 300 MB of memory`, async () => {
    const big = new BigLayer(Math.ceil(SIZE / 512) * 512)
    const config = { os: 'linux', architecture: 'amd64', rootfs: { type: 'layers', diff_ids: [big.digest] } }
    registry.putManifest(
      {
        schemaVersion: 2,
        mediaType: OCI_MANIFEST,
        config: registry.putBlob(Buffer.from(JSON.stringify(config)), OCI_CONFIG),
        layers: [{ mediaType: OCI_LAYER, digest: big.digest, size: big.size }],
      },
      'v1',
    )
    script(registry, blob(big), (request, response) => void serve(big, request, response))
    await using link = await startLink(registry, CUT)
    const { rss, fetched } = await createElsewhere(`docker://${link.host}/${REPOSITORY}:v1`)
    const count = requests(registry, blob(big)).length
    expect(link.state.cuts).toBeGreaterThanOrEqual(Math.floor(SIZE / CUT) - 1)
    expect(count).toBe(link.state.cuts + 1)
    expect(fetched).toBeLessThanOrEqual(big.size * 1.02)
    expect(rss).toBeLessThan(MAX_RSS)
  }, 600_000)
})
