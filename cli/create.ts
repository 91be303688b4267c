/**
 * groot create: makes a bundle and prints its path.
 */
import type { BundleInfo, CreateRequest } from '../lib/index.js'
import { imageRequest } from './image-request.js'
import { jsonLine } from './text.js'
import { answer, checkId, type Verb, withStore } from './verb.js'

export const create: Verb = async (context) => {
  const { options, operands } = context
  const id = operands[1] ?? ''
  checkId(id)
  const request: CreateRequest = {
    ...(await imageRequest(context)),
    id,
    readOnly: options['read-only'] ?? false,
    withoutMount: options['without-mount'] ?? false,
    ...(options.verity === undefined ? {} : { verity: options.verity }),
    ...(options['expect-digest'] === undefined ? {} : { expectDigest: options['expect-digest'] }),
    ignoreOwnership: options['ignore-ownership'] ?? false,
  }
  const made = await withStore(context, (store) => store.create(request))
  if (options.json) return answer(`${jsonLine(bundleJson(made))}\n`)
  // As with GrootFS: who mounts by himself wants to know what.
  return answer(`${options['without-mount'] ? jsonLine(made.mounts) : made.bundle}\n`)
}

/** Exactly the documented fields, in the documented order. */
function bundleJson({ id, bundle, rootfs, image, digest, driver, mounts }: BundleInfo) {
  const { reference } = image
  return { id, bundle, rootfs, image: { reference, digest: image.digest }, digest, driver, mounts }
}
