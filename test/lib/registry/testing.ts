/**
 * What the tests of the registry client share: clients of an image, and a clock on which waiting takes no time.
 */
import type { GrootError } from '../../../lib/errors.js'
import type { GrootEvent } from '../../../lib/events.js'
import type { Descriptor } from '../../../lib/image/manifest.js'
import { type ClientOptions, createClient, type RegistryClient } from '../../../lib/registry/client.js'
import {
  type Credentials,
  type HostConfiguration,
  type PlainHostsOptions,
  plainHosts,
  type RegistryEndpoint,
} from '../../../lib/registry/hosts.js'
import type { Clock } from '../../../lib/registry/retry.js'
import { REPOSITORY } from './fake-registry.js'

/** A clock that goes on by itself, and jumps over waits. Chance is always in the middle. */
export class JumpingClock implements Clock {
  /** Milliseconds. */
  readonly waits: number[] = []
  #skipped = 0

  now(): number {
    return performance.now() + this.#skipped
  }
  date(): number {
    return Date.now() + this.#skipped
  }
  random(): number {
    return 0.5
  }
  async sleep(ms: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    this.waits.push(ms)
    this.#skipped += ms
  }
}

export const SIGNAL: AbortSignal = new AbortController().signal

/** A client of the image `some/image` at one registry, unless the options say otherwise. */
export function connectTo(
  registry: string,
  options: Partial<ClientOptions> & Partial<PlainHostsOptions> = {},
): RegistryClient {
  const { insecureRegistries = [], credentials, ...rest } = options
  const hosts = plainHosts({ insecureRegistries, ...(credentials === undefined ? {} : { credentials }) })
  return createClient({
    image: { registry, repository: REPOSITORY, tag: 'v1' },
    hosts,
    clock: new JumpingClock(),
    ...rest,
  })
}

/** An endpoint that is talked to over http. */
export function endpoint(host: string, change: Partial<RegistryEndpoint> = {}): RegistryEndpoint {
  return {
    host,
    path: '/v2',
    repository: REPOSITORY,
    security: 'plain',
    capabilities: new Set(['resolve', 'pull']),
    isMirror: true,
    ...change,
  }
}

/** Endpoints in this order, the last of which is the registry itself. */
export function hostsOf(
  endpoints: readonly RegistryEndpoint[],
  more: Partial<HostConfiguration> & { readonly credentials?: Readonly<Record<string, Credentials>> } = {},
): HostConfiguration {
  const { credentials = {}, ...rest } = more
  return {
    endpointsFor: async () => endpoints.map((each, at) => ({ ...each, isMirror: at < endpoints.length - 1 })),
    credentialsFor: async ({ host }) => credentials[host] ?? null,
    mayUseHttp: () => false,
    ...rest,
  }
}

export async function collect(chunks: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const pieces: Uint8Array[] = []
  for await (const piece of chunks) pieces.push(piece)
  return Buffer.concat(pieces)
}

export async function readBlob(client: RegistryClient, blob: Descriptor): Promise<Buffer> {
  return await collect((await client.getBlob(blob, SIGNAL)).chunks)
}

export async function failure(work: Promise<unknown>): Promise<GrootError> {
  return work.then(
    () => Promise.reject(new Error('it was accepted')),
    (error: GrootError) => error,
  )
}

/** The events of one kind among all. */
export function eventsOf<Kind extends GrootEvent['kind']>(events: readonly GrootEvent[], kind: Kind) {
  return events.filter((event): event is Extract<GrootEvent, { kind: Kind }> => event.kind === kind)
}
