/**
 * Certificates as Docker's and podman's certs.d have them: a directory for each registry, in which names say what files
 * are. `*.crt` is trusted, `NAME.cert` is shown, with its key in `NAME.key` or in the same file.
 */
import type { ClientPaths } from './hosts-toml.js'
import { invalidConfiguration } from './value.js'

export interface CertificateFiles {
  readonly ca: readonly string[]
  readonly client: readonly ClientPaths[]
}

/**
 * @param directory absolute path, for messages
 * @param names of what is in it; they are taken in order
 * @throws {UsageError} `configuration-invalid` for a key without a certificate
 */
export function certificateFiles(directory: string, names: readonly string[]): CertificateFiles {
  const sorted = [...names].sort()
  const there = new Set(names)
  for (const key of sorted.filter((name) => name.endsWith('.key'))) {
    const cert = `${key.slice(0, -'.key'.length)}.cert`
    // Most often the certificate is there and called .crt, by which it would be trusted and not shown.
    if (!there.has(cert)) {
      throw invalidConfiguration(`${directory}/${key}`, '', `has no certificate beside it, as "${cert}"`)
    }
  }
  return {
    ca: sorted.filter((name) => name.endsWith('.crt')),
    client: sorted
      .filter((name) => name.endsWith('.cert'))
      .map((cert) => {
        const key = `${cert.slice(0, -'.cert'.length)}.key`
        return { cert, key: there.has(key) ? key : null }
      }),
  }
}
