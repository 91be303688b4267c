/**
 * What is known of registries for one call: its options, and the files that they let it read.
 */
import type { HostFiles } from '../registry/host-files.js'
import { parseInsecureRegistries } from '../registry/insecure.js'
import type { CreateRequest } from './api.js'
import { eventSink } from './call.js'

/** The options of a call that are about registries. */
export type RegistryOptions = Pick<
  CreateRequest,
  'insecureRegistries' | 'credentials' | 'registry' | 'onEvent'
>

/**
 * The configuration of registries for a call. Nothing is read yet.
 *
 * @throws {UsageError} `option-invalid` for an insecure registry that is no `HOST[:PORT]`
 */
export async function registryHosts(request: RegistryOptions): Promise<HostFiles> {
  const { credentials, insecureRegistries = [], registry: settings = {} } = request
  // Loaded when an image of a registry is wanted: others need no TLS.
  const { hostFiles } = await import('../registry/host-files.js')
  return hostFiles({
    settings,
    insecureRegistries: parseInsecureRegistries(insecureRegistries),
    events: eventSink(request),
    ...(credentials === undefined ? {} : { credentials }),
  })
}
