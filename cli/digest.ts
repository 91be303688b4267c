/**
 * groot digest and groot pull: bring an image in and print what it is, as a tree and as an image.
 */
import type { ImageDigest } from '../lib/index.js'
import { imageRequest } from './image-request.js'
import { mappingRequest } from './mapping.js'
import { jsonLine } from './text.js'
import { answer, type Verb, type VerbContext, withStore } from './verb.js'

export const digest: Verb = async (context) => {
  const request = await imageRequest(context)
  const found = await withStore(context, (store) => store.digest(request))
  return told(context, found, found.digest)
}

export const pull: Verb = async (context) => {
  const request = { ...mappingRequest(context.options), ...(await imageRequest(context)) }
  const found = await withStore(context, (store) => store.pull(request))
  return told(context, found, found.image.digest)
}

function told({ options }: VerbContext, { image, digest: tree }: ImageDigest, line: string) {
  const document = { image: { reference: image.reference, digest: image.digest }, digest: tree }
  return answer(`${options.json ? jsonLine(document) : line}\n`)
}
