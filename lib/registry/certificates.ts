/**
 * Certificates and keys from files, checked before anybody connects with them, and what the system trusts.
 */
import { X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import tls from 'node:tls'
import type { FilePlace } from '../config/places.js'
import { invalidConfiguration } from '../config/value.js'
import { isErrno, toGrootError } from '../errors.js'
import { quote } from '../image/json.js'
import { readConfigFile } from './config-files.js'

/** Absolute paths. */
export interface CertificatePaths {
  readonly ca: readonly string[]
  readonly client: readonly { readonly cert: string; readonly key: string }[]
}

/** PEM texts, as hosts.ts has them. */
export interface Certificates {
  readonly ca: readonly string[]
  readonly client: readonly { readonly cert: string; readonly key: string }[]
}

/**
 * Reads files of certificates and keys.
 *
 * @throws {UsageError} `configuration-invalid` for what is missing, no certificate, or a key that does not belong to it
 * @throws {SystemError} for what cannot be read
 */
export async function readCertificates(paths: CertificatePaths): Promise<Certificates> {
  return {
    ca: await Promise.all(paths.ca.map(readTrusted)),
    client: await Promise.all(paths.client.map(readPair)),
  }
}

const BLOCK = /-----BEGIN (?:X509 )?CERTIFICATE-----[^-]*-----END (?:X509 )?CERTIFICATE-----/g

async function readTrusted(path: string): Promise<string> {
  const text = await readNamed(path)
  const blocks = text.match(BLOCK) ?? []
  if (blocks.length === 0) throw invalidConfiguration(path, '', 'has no certificate in PEM')
  for (const block of blocks) {
    try {
      new X509Certificate(block)
    } catch {
      throw invalidConfiguration(path, '', 'has a certificate that is damaged')
    }
  }
  return blocks.join('\n')
}

async function readPair({
  cert,
  key,
}: CertificatePaths['client'][number]): Promise<Certificates['client'][number]> {
  const pair = { cert: await readNamed(cert), key: await readNamed(key) }
  try {
    tls.createSecureContext(pair)
  } catch (error) {
    // OpenSSL's words are about form and never quote a key.
    const found = error instanceof Error ? error.message : String(error)
    const which = cert === key ? '' : ` with its key in ${quote(key)}`
    throw invalidConfiguration(cert, '', `cannot be shown${which}: ${found}`)
  }
  return pair
}

async function readNamed(path: string): Promise<string> {
  return (await readConfigFile({ path, isNamed: true })) ?? ''
}

/**
 * What this system trusts and Node does not: the certificates that an administrator added, and where the two lists
 * differ. Only those, because reading a whole list into TLS takes some 30 ms; telling them apart takes 10.
 *
 * @param places the first that is there counts
 * @throws {UsageError} `configuration-invalid` for a named file that is missing
 */
export function systemCertificates(places: readonly FilePlace[]): string[] {
  for (const { path, isNamed } of places) {
    try {
      const known = new Set(tls.rootCertificates.map(content))
      return [...new Set(readFileSync(path, 'latin1').match(BLOCK) ?? [])].filter(
        (it) => !known.has(content(it)),
      )
    } catch (error) {
      if (!isErrno(error, 'ENOENT', 'ENOTDIR')) throw toGrootError(error, `Cannot read ${quote(path)}`)
      if (isNamed) throw invalidConfiguration(path, '', 'is not there')
    }
  }
  return []
}

function content(pem: string): string {
  return pem.replace(/-----[A-Z0-9 ]+-----|\s/g, '')
}
