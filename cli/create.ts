/**
 * groot create: makes a bundle and prints its path.
 */
import { type BundleInfo, type CreateRequest, type Credentials, UsageError } from '../lib/index.js'
import { jsonLine } from './text.js'
import { answer, callOptions, checkId, type Verb, type VerbContext, withStore } from './verb.js'

export const create: Verb = async (context) => {
  const { options, operands } = context
  const [image = '', id = ''] = operands
  checkId(id)
  const request: CreateRequest = {
    ...callOptions(context),
    image,
    id,
    readOnly: options['read-only'] ?? false,
    ignoreOwnership: options['ignore-ownership'] ?? false,
    insecureRegistries: options['insecure-registry'] ?? [],
    ...(options.platform === undefined ? {} : { platform: options.platform }),
    ...(await credentials(context)),
    limits: {
      ...(options['max-file-bytes'] === undefined ? {} : { maxFileBytes: options['max-file-bytes'] }),
      ...(options['max-total-bytes'] === undefined ? {} : { maxTotalBytes: options['max-total-bytes'] }),
    },
  }
  const made = await withStore(context, (store) => store.create(request))
  return answer(`${options.json ? jsonLine(bundleJson(made)) : made.bundle}\n`)
}

/** Exactly the documented fields, in the documented order. */
function bundleJson({ id, bundle, rootfs, image, driver, mounts }: BundleInfo) {
  return { id, bundle, rootfs, image: { reference: image.reference, digest: image.digest }, driver, mounts }
}

async function credentials({ options, stdin }: VerbContext): Promise<{ credentials?: Credentials }> {
  const { username } = options
  const readsPassword = options['password-stdin'] === true
  if (username === undefined && !readsPassword) return {}
  if (username === undefined) {
    throw new UsageError('usage-invalid', 'Cannot use --password-stdin: it needs --username too', {
      facts: { option: 'password-stdin', needed: 'username' },
    })
  }
  if (!readsPassword) {
    throw new UsageError(
      'usage-invalid',
      'Cannot use --username: it needs --password-stdin too, as a password on the command line could be read by everybody',
      { facts: { option: 'username', needed: 'password-stdin' } },
    )
  }
  return { credentials: { username, password: await readPassword(stdin()) } }
}

const MAX_PASSWORD_BYTES = 64 * 1024 // longer than any token; stdin may be a disk by mistake

async function readPassword(stdin: AsyncIterable<Uint8Array>): Promise<string> {
  const chunks: Uint8Array[] = []
  let bytes = 0
  for await (const chunk of stdin) {
    chunks.push(chunk)
    bytes += chunk.length
    if (bytes > MAX_PASSWORD_BYTES) {
      throw new UsageError(
        'usage-invalid',
        `Cannot read the password: it is longer than ${MAX_PASSWORD_BYTES} bytes`,
        {
          facts: { limit: MAX_PASSWORD_BYTES },
        },
      )
    }
  }
  const password = Buffer.concat(chunks)
    .toString('utf8')
    .replace(/\r?\n$/, '')
  if (password !== '') return password
  throw new UsageError('usage-invalid', 'Cannot read the password: standard input is empty')
}
