/**
 * Images of a registry.
 *
 * The name is looked up once; manifest, config and layers go by digest. How to talk to a registry is in lib/registry.
 */
import { UsageError } from '../errors.js'
import { isProblem, normalizeRegistry } from '../image/host.js'
import { quote } from '../image/json.js'
import { printReference, type RegistryReference } from '../image/reference.js'
import type { Credentials } from '../registry/auth.js'
import { createClient } from '../registry/client.js'
import type { Transport } from '../registry/transport.js'
import { type DocumentReader, resolveImage } from './resolve.js'
import type { ImageSource } from './source.js'

export interface RegistryOptions {
  /** Registries (`HOST[:PORT]`) that may be talked to over http. */
  readonly insecureRegistries: readonly string[]
  /** For the registry of the reference. */
  readonly credentials?: Credentials
  /** Default: one of the source's own. */
  readonly transport?: Transport
}

/**
 * @throws {UsageError} `option-invalid` for an insecure registry that is no `HOST[:PORT]`, or credentials that no header
 *   can hold
 */
export function registrySource(reference: RegistryReference, options: RegistryOptions): ImageSource {
  const { repository, tag, digest } = reference
  const insecureRegistries = options.insecureRegistries.map(parseInsecure)
  const client = createClient({ ...options, insecureRegistries, registry: reference.registry })
  const documents: DocumentReader = {
    readManifest: async (descriptor, signal) =>
      (await client.getManifest(repository, descriptor.digest, signal)).bytes,
    readConfig: (descriptor, signal) => client.readBlob(repository, descriptor, signal),
  }
  return {
    ...(digest === undefined ? {} : { pinned: printReference(reference) }),
    async resolve(request) {
      const root = await client.getManifest(repository, digest ?? tag ?? 'latest', request.signal)
      return resolveImage(printReference(reference), root, documents, request)
    },
    async openBlob(layer, signal) {
      return { kind: 'stream', chunks: await client.getBlob(repository, layer.descriptor, signal) }
    },
    async [Symbol.asyncDispose]() {
      client.close()
    },
  }
}

function parseInsecure(text: string): string {
  const registry = normalizeRegistry(text)
  if (!isProblem(registry)) return registry
  throw new UsageError('option-invalid', `Cannot use insecure registry ${quote(text)}: ${registry.problem}`, {
    facts: { option: 'insecureRegistries', value: text },
  })
}
