/**
 * Where the images of a registry are asked for, and with what: the interface between the registry client and whoever
 * reads configuration. Types and what follows from them alone; no file is read and no address is asked here.
 *
 * The client asks endpoints in the order given and goes on to the next when one fails, so the order is the policy. It
 * never talks to a host that is neither an endpoint, nor a token service that an endpoint named, nor where one of these
 * redirected.
 */
import type { Digest } from '../digest.js'
import { isLoopbackHost } from './addresses.js'
import { basicHeader } from './basic.js'

/** A user name and a password, or what an earlier login left in their place. */
export type Credentials = PasswordCredentials | IdentityToken

export interface PasswordCredentials {
  readonly username: string
  readonly password: string
}

/**
 * A refresh token of OAuth 2, which Docker's files call `identitytoken`: exchanged for tokens at the registry's token
 * service, and of no use for basic authentication.
 */
export interface IdentityToken {
  readonly identityToken: string
}

/** What is looked for: `docker://registry/repository[:tag][@digest]`, in normal form. */
export interface WantedImage {
  readonly registry: string
  readonly repository: string
  readonly tag?: string
  readonly digest?: Digest
}

/**
 * How an endpoint may be talked to.
 *
 * - `verified`: https, with a certificate that is trusted.
 * - `unverified`: https, with any certificate (containerd's `skip_verify`).
 * - `plain`: http.
 * - `any`: https with any certificate, and http where TLS is not spoken (`insecure = true` of registries.conf).
 * - `loopback`: http, and verified https where http is not spoken: for a registry on this machine of which nobody said
 *   anything.
 */
export type EndpointSecurity = 'verified' | 'unverified' | 'plain' | 'any' | 'loopback'

/** What an endpoint is asked for: manifests by tag, or manifests and blobs by digest (containerd's hosts.toml). */
export type Capability = 'resolve' | 'pull'

/** One place that has the image. */
export interface RegistryEndpoint {
  /** `host[:port]` in normal form, as normalizeRegistry gives it. */
  readonly host: string
  /**
   * What stands before `/REPOSITORY/manifests/…`: `/v2` nearly always, `/some/prefix/v2`, or anything for a mirror with
   * `override_path`. Begins with a slash and does not end with one; empty for none.
   */
  readonly path: string
  /** The repository's name there; another than the image's where a mirror has it under a prefix. */
  readonly repository: string
  readonly security: EndpointSecurity
  readonly capabilities: ReadonlySet<Capability>
  /** False for the registry of the reference itself. Credentials that came with the call go to that one only. */
  readonly isMirror: boolean
  /** Sent as the query `ns=…`, for mirrors of several registries; containerd sends it to every mirror. */
  readonly namespace?: string
  /**
   * Certificates to trust besides those that are trusted anyway: PEM texts. For this endpoint, and for where it sends us
   * (its token service, its storage): whoever holds such a certificate's key could choose these anyway.
   */
  readonly ca?: readonly string[]
  /** Certificates to show, with their keys: PEM texts. To this endpoint only; of several the first is used. */
  readonly client?: readonly { readonly cert: string; readonly key: string }[]
  /** Further headers, with lower-case names. They may hold secrets: they go to this endpoint's origin only. */
  readonly headers?: Readonly<Record<string, string>>
  /** Until TCP and TLS are set up; default: the client's. */
  readonly connectTimeoutMs?: number
}

/** HTTP_PROXY, HTTPS_PROXY and NO_PROXY as they stand in the environment; see proxy.ts. */
export interface ProxySettings {
  readonly http?: string
  readonly https?: string
  readonly no?: string
}

/** What is known of registries before one is asked. */
export interface HostConfiguration {
  /**
   * Where to ask for an image, in order: mirrors first, the registry itself last. At least one; called once for each
   * image.
   *
   * @throws {RegistryError} `registry-blocked` when the configuration forbids the registry, by its name
   * @throws {UsageError} for configuration that cannot be understood
   */
  endpointsFor(image: WantedImage): Promise<readonly RegistryEndpoint[]>
  /** Called when an endpoint asks for them, once for each; null for none. They go to this endpoint's origin only. */
  credentialsFor(endpoint: RegistryEndpoint, signal: AbortSignal): Promise<Credentials | null>
  /** Whether the user named this host (`URL.host`) as one that may see credentials over http: token services, that is. */
  mayUseHttp(host: string): boolean
  readonly proxies?: ProxySettings
  /** Certificates that are trusted for every host besides those that Node trusts: PEM texts, such as the system's. */
  readonly certificates?: readonly string[]
}

/** The endpoint that a registry is by itself, when no configuration says anything of it. */
export function registryItself(image: WantedImage, isNamedInsecure: boolean): RegistryEndpoint {
  const isLoopback = isLoopbackHost(new URL(`https://${image.registry}`).hostname)
  return {
    host: image.registry,
    path: '/v2',
    repository: image.repository,
    security: isNamedInsecure ? 'plain' : isLoopback ? 'loopback' : 'verified',
    capabilities: new Set(['resolve', 'pull']),
    isMirror: false,
  }
}

/** What the user said with the call, where there is no other configuration. */
export interface PlainHostsOptions {
  /** Registries (`host[:port]` in normal form) that are talked to over http. */
  readonly insecureRegistries: readonly string[]
  /** For the registry of the reference. */
  readonly credentials?: Credentials
}

/**
 * A configuration without files: every registry is asked itself.
 *
 * @throws {UsageError} `option-invalid` for credentials that no header can hold
 */
export function plainHosts({ insecureRegistries, credentials }: PlainHostsOptions): HostConfiguration {
  if (credentials !== undefined && !('identityToken' in credentials)) basicHeader(credentials)
  const insecureHosts = new Set(insecureRegistries.map((name) => new URL(`http://${name}`).host))
  return {
    endpointsFor: async (image) => [registryItself(image, insecureRegistries.includes(image.registry))],
    credentialsFor: async ({ isMirror }) => (isMirror ? null : (credentials ?? null)),
    mayUseHttp: (host) => insecureHosts.has(host),
  }
}
