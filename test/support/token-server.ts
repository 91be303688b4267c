/**
 * A token server for docker-registry in this process: tokens signed as the registry wants them ("Token Authentication
 * Specification"), for one user, and for a refresh token of his.
 */
import { sign } from 'node:crypto'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Certificate } from '../lib/registry/certificate.js'

export interface TokenServer extends AsyncDisposable {
  /** For `auth.token.realm` of the registry. */
  readonly realm: string
  /** What was asked: method, query or form, and the user name of Basic; no secrets. */
  readonly seen: string[]
}

export interface TokenServerOptions {
  /** The registry trusts tokens that are signed with its key; certificate in PEM. */
  readonly certificate: Certificate
  readonly username: string
  readonly password: string
  readonly refreshToken: string
  /** Under which name the token is in the answer. */
  readonly field: 'token' | 'access_token'
}

export const SERVICE = 'the-registry'
export const ISSUER = 'the-token-server'

export async function startTokenServer(options: TokenServerOptions): Promise<TokenServer> {
  const { username, password, refreshToken, field } = options
  const basic = `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`
  const seen: string[] = []
  const server = http.createServer(async (request, response) => {
    let body = ''
    for await (const chunk of request) body += chunk
    const question = new URLSearchParams(request.method === 'POST' ? body : request.url?.split('?')[1])
    const scope = question.get('scope') ?? ''
    seen.push(`${request.method} ${scope}`)
    const isKnown =
      request.method === 'POST'
        ? question.get('grant_type') === 'refresh_token' && question.get('refresh_token') === refreshToken
        : request.headers.authorization === basic
    if (!isKnown) {
      response.writeHead(401).end()
      return
    }
    response.setHeader('content-type', 'application/json')
    response.end(
      JSON.stringify({ [field]: makeToken(options.certificate, username, scope), expires_in: 300 }),
    )
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    realm: `http://127.0.0.1:${(server.address() as AddressInfo).port}/token`,
    seen,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

function makeToken({ cert, key }: Certificate, subject: string, scope: string): string {
  const [type, name, actions = ''] = scope.split(':')
  const now = Math.floor(Date.now() / 1000)
  const header = { typ: 'JWT', alg: 'ES256', x5c: [cert.replace(/-----[A-Z ]+-----|\s/g, '')] }
  const claims = {
    iss: ISSUER,
    sub: subject,
    aud: SERVICE,
    iat: now,
    nbf: now - 60,
    exp: now + 300,
    jti: String(Math.random()),
    access: scope === '' ? [] : [{ type, name, actions: actions.split(',') }],
  }
  const text = [header, claims]
    .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
    .join('.')
  const signature = sign('sha256', Buffer.from(text), { key, dsaEncoding: 'ieee-p1363' })
  return `${text}.${signature.toString('base64url')}`
}
