/**
 * Images of a registry.
 *
 * The name is looked up once; manifest, config and layers go by digest. How to talk to a registry is in lib/registry.
 */
import type { EventSink } from '../events.js'
import { printReference, type RegistryReference } from '../image/reference.js'
import { createClient, type RegistryClient } from '../registry/client.js'
import { type Credentials, type HostConfiguration, plainHosts } from '../registry/hosts.js'
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
  /** Where to ask and with what. Default: the registry itself, with the two above. */
  readonly hosts?: HostConfiguration
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
  const { insecureRegistries, credentials, ...rest } = options
  const plain = { insecureRegistries: parseInsecureRegistries(insecureRegistries) }
  const hosts = options.hosts ?? plainHosts(credentials === undefined ? plain : { ...plain, credentials })
  // Made when it is first asked: who has the image already needs neither certificates nor connections.
  let made: RegistryClient | null = null
  const client = (): RegistryClient => {
    made ??= createClient({ ...rest, image: reference, hosts })
    return made
  }
  const documents: DocumentReader = {
    readManifest: async (descriptor, signal) => (await client().getManifest(descriptor.digest, signal)).bytes,
    readConfig: (descriptor, signal) => client().readBlob(descriptor, signal),
  }
  return {
    name: printReference(reference),
    ...(digest === undefined ? {} : { pinned: printReference(reference) }),
    async resolve(request) {
      const root = await client().getManifest(digest ?? tag ?? 'latest', request.signal)
      return resolveImage(printReference(reference), root, documents, request)
    },
    async openBlob(layer, signal) {
      return { kind: 'stream', ...(await client().getBlob(layer.descriptor, signal)) }
    },
    async [Symbol.asyncDispose]() {
      made?.close()
    },
  }
}
