/**
 * Certificates for tests, by openssl: an authority of the test's own, and what it signs.
 */
import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'

export interface Authority {
  /** Its certificate, as a file. */
  readonly file: string
  /** Makes a certificate for a name (`DNS:…` or `IP:…`) or, without one, for a client. */
  issue(name: string, subject?: string): { readonly cert: string; readonly key: string }
}

const KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes']

/** @param directory made here, the caller removes it */
export function makeAuthority(directory: string): Authority {
  mkdirSync(directory)
  const at = (name: string) => `${directory}/${name}`
  openssl(
    'req',
    '-x509',
    ...KEY,
    '-keyout',
    at('ca.key'),
    '-out',
    at('ca.crt'),
    '-subj',
    '/CN=authority',
    '-days',
    '2',
  )
  return {
    file: at('ca.crt'),
    issue(name, subject) {
      const [cert, key, request, extensions] = ['crt', 'key', 'csr', 'ext'].map((end) => at(`${name}.${end}`))
      openssl('req', ...KEY, '-keyout', key!, '-out', request!, '-subj', `/CN=${name}`)
      const usage = subject === undefined ? 'clientAuth' : `serverAuth\nsubjectAltName=${subject}`
      writeFileSync(extensions!, `extendedKeyUsage=${usage}\n`)
      const signing = ['-CA', at('ca.crt'), '-CAkey', at('ca.key'), '-CAcreateserial', '-days', '2']
      openssl('x509', '-req', '-in', request!, ...signing, '-out', cert!, '-extfile', extensions!)
      return { cert: readFileSync(cert!, 'utf8'), key: readFileSync(key!, 'utf8') }
    },
  }
}

function openssl(...args: string[]): void {
  execFileSync('openssl', args, { stdio: 'ignore' })
}
