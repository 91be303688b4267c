/**
 * groot list: prints the bundles.
 */
import { jsonLine } from './text.js'
import { answer, callOptions, type Verb, withExistingStore } from './verb.js'

export const list: Verb = async (context) => {
  const bundles = (await withExistingStore(context, (store) => store.list(callOptions(context)))) ?? []
  if (!context.options.json) return answer(bundles.map(({ id }) => `${id}\n`).join(''))
  const documents = bundles.map(({ id, bundle, rootfs, image, digest, driver, mounts, createdAt }) => ({
    id,
    bundle,
    rootfs,
    image: { reference: image.reference, digest: image.digest },
    digest,
    driver,
    mounts,
    createdAt,
  }))
  return answer(`${jsonLine(documents)}\n`)
}
