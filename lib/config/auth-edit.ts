/**
 * Changes to the text of Docker's config.json or podman's auth.json: one entry more or fewer, all else as it was.
 */
import { entryKey, entryKeys, parseAuthFile } from './auth-file.js'
import { invalidConfiguration, isTable } from './value.js'

/**
 * The text with credentials for a registry in place of any others for the whole of it.
 *
 * @param source the file's text; empty for a new file
 * @param credentials null for an entry that only says that a helper has them, as Docker writes it
 * @throws {UsageError} `configuration-invalid` when the file is malformed: it is not written over
 */
export function withEntry(
  source: string,
  file: string,
  registry: string,
  credentials: { readonly username: string; readonly password: string } | null,
): string {
  return edit(source, file, registry, (auths) => {
    auths[entryKey(registry)] =
      credentials === null
        ? {}
        : { auth: Buffer.from(`${credentials.username}:${credentials.password}`, 'utf8').toString('base64') }
  })
}

/** The text without any credentials for the whole of a registry; those for its namespaces stay. */
export function withoutEntry(source: string, file: string, registry: string): string {
  return edit(source, file, registry, () => {})
}

/** Whether a file has an entry for the whole of a registry, with credentials or without. */
export function hasEntry(source: string, file: string, registry: string): boolean {
  return entryKeys(parseAuthFile(source, file, 'config'), registry, undefined).length > 0
}

function edit(
  source: string,
  file: string,
  registry: string,
  change: (auths: Record<string, unknown>) => void,
): string {
  const keys = entryKeys(parseAuthFile(source, file, 'config'), registry, undefined)
  try {
    const { plain, restore } = keepNumbers(source.trim() === '' ? '{}' : source)
    const root = JSON.parse(plain) as Record<string, unknown> // parseAuthFile found a table
    const auths = isTable(root.auths) ? root.auths : {}
    for (const key of keys) delete auths[key]
    change(auths)
    root.auths = auths
    return restore(`${JSON.stringify(root, null, '\t')}\n`)
  } catch {
    // What could be read before can fail for one reason.
    throw invalidConfiguration(file, '', 'is nested too deep to be written')
  }
}

/**
 * Makes texts of a document's numbers, and numbers of them again: a number that JavaScript cannot hold would come out as
 * another one.
 */
function keepNumbers(source: string): {
  readonly plain: string
  readonly restore: (text: string) => string
} {
  // Longer than any run in the document, escaped or not.
  const runs = `${source}${JSON.stringify(JSON.parse(source))}`.match(/#+/g) ?? []
  const mark = '#'.repeat(1 + runs.reduce((longest, run) => Math.max(longest, run.length), 0))
  const plain = source.replace(/"(?:[^"\\]|\\.)*"|-?[0-9][0-9.eE+-]*/gs, (token) =>
    token.startsWith('"') ? token : `"${mark}${token}"`,
  )
  return { plain, restore: (text) => text.replaceAll(new RegExp(`"${mark}([^"]*)"`, 'g'), '$1') }
}
