/**
 * groot create: makes a bundle and prints its path.
 */
import { type BundleInfo, type CreateRequest, UsageError } from '../lib/index.js'
import { imageRequest } from './image-request.js'
import { mappingRequest } from './mapping.js'
import type { OptionValues } from './options.js'
import { jsonLine } from './text.js'
import { answer, checkId, type Verb, withStore } from './verb.js'

export const create: Verb = async (context) => {
  const { options, operands } = context
  const id = operands[1] ?? ''
  checkId(id)
  const request: CreateRequest = {
    ...mappingRequest(options),
    ...(await imageRequest(context)),
    id,
    readOnly: options['read-only'] ?? false,
    withoutMount: options['without-mount'] ?? false,
    ...(options.verity === undefined ? {} : { verity: options.verity }),
    ...(options['expect-digest'] === undefined ? {} : { expectDigest: options['expect-digest'] }),
    ...(options['disk-limit-size-bytes'] === undefined
      ? {}
      : { diskLimitSizeBytes: options['disk-limit-size-bytes'] }),
    ...(options['exclude-image-from-quota'] ? { excludeImageFromQuota: true } : {}),
    ...(options['quota-backend'] === undefined ? {} : { quotaBackend: options['quota-backend'] }),
    ...withClean(options),
    ignoreOwnership: options['ignore-ownership'] ?? false,
  }
  const made = await withStore(context, (store) => store.create(request))
  if (options.json) return answer(`${jsonLine(bundleJson(made))}\n`)
  // As with GrootFS: who mounts by himself wants to know what.
  return answer(`${options['without-mount'] ? jsonLine(made.mounts) : made.bundle}\n`)
}

function withClean(options: OptionValues): Pick<CreateRequest, 'withClean'> {
  const thresholdBytes = options['threshold-bytes']
  if (options['with-clean']) return { withClean: thresholdBytes === undefined ? {} : { thresholdBytes } }
  if (thresholdBytes === undefined) return {}
  throw new UsageError(
    'option-invalid',
    'Cannot use --threshold-bytes without --with-clean: it says when the clean before a create has something to do',
    { facts: { option: 'threshold-bytes' } },
  )
}

/** Exactly the documented fields, in the documented order. */
function bundleJson({ id, bundle, rootfs, image, digest, driver, mounts }: BundleInfo) {
  const { reference } = image
  return { id, bundle, rootfs, image: { reference, digest: image.digest }, digest, driver, mounts }
}
