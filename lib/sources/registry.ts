/**
 * Images of a registry.
 *
 * The name is looked up once; manifest, config and layers go by digest. How to talk to a registry is in lib/registry.
 */
import type { EventSink } from '../events.js'
import { printReference, type RegistryReference } from '../image/reference.js'
import { basicHeader } from '../registry/basic.js'
import type { RegistryClient } from '../registry/client.js'
import type { Credentials, HostConfiguration } from '../registry/hosts.js'
import { parseInsecureRegistries } from '../registry/insecure.js'
import type { Clock, RetryPolicy } from '../registry/retry.js'
import type { Transport } from '../registry/transport.js'
import { type DocumentReader, resolveImage } from './resolve.js'
import type { ImageSource } from './source.js'

export interface RegistryOptions {
  /** Registries (`HOST[:PORT]`) that may be talked to over http, when there is no other configuration. */
  readonly insecureRegistries: readonly string[]
  /** For the registry of the reference, when there is no other configuration. */
  readonly credentials?: Credentials
  /** Where to ask and with what, found out when it matters. Default: the registry itself, with the two above. */
  readonly hosts?: () => Promise<HostConfiguration | undefined>
  readonly events?: EventSink
  /** The rest is the client's: see ClientOptions. */
  readonly transport?: Transport
  readonly connectTimeoutMs?: number
  readonly retry?: RetryPolicy
  readonly clock?: Clock
}

/**
 * @throws {UsageError} `option-invalid` for an insecure registry that is no `HOST[:PORT]`, or credentials that no header
 *   can hold
 */
export function registrySource(reference: RegistryReference, options: RegistryOptions): ImageSource {
  const { tag, digest } = reference
  const { insecureRegistries, credentials, hosts, ...rest } = options
  const insecure = { insecureRegistries: parseInsecureRegistries(insecureRegistries) }
  if (credentials !== undefined && !('identityToken' in credentials)) basicHeader(credentials)
  // Made when it is first asked: who has the image already needs no configuration, no certificates, no connections.
  const make = async (): Promise<RegistryClient> => {
    const [{ createClient }, { plainHosts }] = await Promise.all([
      import('../registry/client.js'),
      import('../registry/hosts.js'),
    ])
    const plain = () => plainHosts(credentials === undefined ? insecure : { ...insecure, credentials })
    return createClient({ ...rest, image: reference, hosts: (await hosts?.()) ?? plain() })
  }
  let made: Promise<RegistryClient> | null = null
  const client = (): Promise<RegistryClient> => {
    made ??= make()
    return made
  }
  const documents: DocumentReader = {
    readManifest: async (descriptor, signal) =>
      (await (await client()).getManifest(descriptor.digest, signal)).bytes,
    readConfig: async (descriptor, signal) => (await client()).readBlob(descriptor, signal),
  }
  return {
    name: printReference(reference),
    ...(digest === undefined ? {} : { pinned: printReference(reference) }),
    async resolve(request) {
      const root = await (await client()).getManifest(digest ?? tag ?? 'latest', request.signal)
      return resolveImage(printReference(reference), root, documents, request)
    },
    async openBlob(layer, signal) {
      return { kind: 'stream', ...(await (await client()).getBlob(layer.descriptor, signal)) }
    },
    async [Symbol.asyncDispose]() {
      // What could not be made has nothing to close.
      const client = await made?.catch(() => null)
      client?.close()
    },
  }
}
