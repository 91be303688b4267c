/**
 * A registry that serves an OCI layout as it is, for measuring pulls: each request waits as long as on a distant link, and
 * where it is told to they are answered one after the other, as if there were one connection. Nothing is verified.
 * Run as `node dist/bench/layout-server.js DIR LATENCY_MS [one]`; prints its port, ends with its standard input.
 */
import { createReadStream, readFileSync, statSync } from 'node:fs'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout } from 'node:timers/promises'

interface Descriptor {
  readonly mediaType: string
  readonly digest: string
  readonly annotations?: Readonly<Record<string, string>>
}

const [layout = '', latency = '0', connections = 'many'] = process.argv.slice(2)
const index = JSON.parse(readFileSync(`${layout}/index.json`, 'utf8')) as { readonly manifests: Descriptor[] }

/** Requests in the order of their coming, where each waits for the one before. */
let last: Promise<void> = Promise.resolve()

const server = http.createServer((request, response) => {
  const turn = connections === 'one' ? last : Promise.resolve()
  const answered = new Promise<void>((resolve) => response.once('close', resolve))
  if (connections === 'one') last = turn.then(() => answered)
  void turn.then(() => setTimeout(Number(latency))).then(() => answer(request.url ?? '', response))
})

function answer(url: string, response: http.ServerResponse): void {
  const [, repository = '', kind, name = ''] = /^\/v2\/(.+)\/(manifests|blobs)\/([^/?]+)/.exec(url) ?? []
  if (url === '/v2/') return void response.end('{}')
  if (kind === undefined) return void response.writeHead(404).end()
  const known = kind === 'manifests' ? manifestOf(repository, name) : { digest: name, mediaType: BLOB }
  if (known === undefined) return void response.writeHead(404).end()
  const path = `${layout}/blobs/${known.digest.replace(':', '/')}`
  response.writeHead(200, {
    'content-type': known.mediaType,
    'content-length': statSync(path).size,
    'docker-content-digest': known.digest,
  })
  createReadStream(path, { highWaterMark: 1024 * 1024 }).pipe(response)
}

const BLOB = 'application/octet-stream'

/** By digest, or by the name of the repository, whatever the tag. */
function manifestOf(repository: string, reference: string): Descriptor | undefined {
  return index.manifests.find(
    ({ digest, annotations }) =>
      digest === reference || annotations?.['org.opencontainers.image.ref.name'] === repository,
  )
}

server.listen(0, '127.0.0.1', () => {
  process.stdout.write(`${(server.address() as AddressInfo).port}\n`)
})
process.stdin.on('end', () => process.exit()).resume()
