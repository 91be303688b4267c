/**
 * groot login: verifies credentials with a registry and keeps them where Docker does.
 */
import { type Credentials, UsageError } from '../lib/index.js'
import { readPassword } from './registry.js'
import { jsonLine, quoted } from './text.js'
import { answer, callOptions, type Verb, type VerbContext } from './verb.js'

export const login: Verb = async (context) => {
  const { options, operands, library, log } = context
  const [given = ''] = operands
  const { host, keptIn } = await library.login({
    ...callOptions(context),
    host: given,
    credentials: await credentials(context, given),
    insecureRegistries: options['insecure-registry'] ?? [],
    registry: context.registry,
  })
  const place = keptIn.kind === 'file' ? keptIn.path : keptIn.name
  const message = `Logged in at ${quoted(host)}; the credentials are kept in ${quoted(place)}`
  if (!options.json) log.note('info', { code: 'login', message, facts: { host, keptIn: place } })
  return answer(options.json ? `${jsonLine({ host, keptIn })}\n` : '')
}

/** From the options and standard input; what is missing is asked for where a person sits at a terminal. */
async function credentials({ options, stdin, ask }: VerbContext, host: string): Promise<Credentials> {
  const { username } = options
  if (options['password-stdin'] === true) {
    if (username !== undefined) return { username, password: await readPassword(stdin()) }
    throw new UsageError('usage-invalid', 'Cannot use --password-stdin: it needs --username too', {
      facts: { option: 'password-stdin', needed: 'username' },
    })
  }
  if (ask === null) {
    throw new UsageError(
      'usage-invalid',
      'Cannot ask for a password: there is no terminal; use --username and --password-stdin',
      { facts: { option: 'password-stdin' } },
    )
  }
  const name = username ?? (await ask(`User name for ${quoted(host)}: `, { hidden: false })).trim()
  if (name === '') throw nothing('user name')
  const password = await ask(`Password of ${quoted(name)} for ${quoted(host)}: `, { hidden: true })
  if (password === '') throw nothing('password')
  return { username: name, password }
}

function nothing(what: string): UsageError {
  return new UsageError('usage-invalid', `Cannot log in: the ${what} is empty`)
}
