/**
 * What the command line says of registries: options that every verb with an image of a registry takes, and passwords.
 */
import { type CreateRequest, type Credentials, UsageError } from '../lib/index.js'
import type { VerbContext } from './verb.js'

/** The part of a request that is about registries; reads standard input with --password-stdin. */
export async function registryRequest(
  context: VerbContext,
): Promise<Pick<CreateRequest, 'insecureRegistries' | 'credentials' | 'registry'>> {
  return {
    insecureRegistries: context.options['insecure-registry'] ?? [],
    registry: context.registry,
    ...(await credentials(context)),
  }
}

/** What --username and --password-stdin say. */
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

/** All of standard input but a line break at its end. */
export async function readPassword(stdin: AsyncIterable<Uint8Array>): Promise<string> {
  const chunks: Uint8Array[] = []
  let bytes = 0
  for await (const chunk of stdin) {
    chunks.push(chunk)
    bytes += chunk.length
    if (bytes > MAX_PASSWORD_BYTES) {
      throw new UsageError(
        'usage-invalid',
        `Cannot read the password: it is longer than ${MAX_PASSWORD_BYTES} bytes`,
        { facts: { limit: MAX_PASSWORD_BYTES } },
      )
    }
  }
  const password = Buffer.concat(chunks)
    .toString('utf8')
    .replace(/\r?\n$/, '')
  if (password !== '') return password
  throw new UsageError('usage-invalid', 'Cannot read the password: standard input is empty')
}
