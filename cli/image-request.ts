/**
 * Which image a verb means and how to get it: the options that create, digest and pull have in common.
 */
import type { DigestRequest } from '../lib/index.js'
import { registryRequest } from './registry.js'
import { callOptions, type VerbContext } from './verb.js'

/** The first argument is the image. */
export async function imageRequest(context: VerbContext): Promise<DigestRequest> {
  const { options, operands } = context
  return {
    ...callOptions(context),
    image: operands[0] ?? '',
    ...(options['no-sync'] ? { noSync: true } : {}),
    ...(options.pull === undefined ? {} : { pull: options.pull }),
    ...(options.platform === undefined ? {} : { platform: options.platform }),
    ...(await registryRequest(context)),
    limits: {
      ...(options['max-file-bytes'] === undefined ? {} : { maxFileBytes: options['max-file-bytes'] }),
      ...(options['max-total-bytes'] === undefined ? {} : { maxTotalBytes: options['max-total-bytes'] }),
    },
  }
}
