/**
 * The part of the runtime-spec that groot writes, as a JSON schema: closed, so that a field with a wrong name is an error
 * (runtime-spec 1.0.2, config.md and config-linux.md).
 */
const text = { type: 'string' } as const
const texts = { type: 'array', items: text } as const
const path = { type: 'string', pattern: '^/' } as const
const uint32 = { type: 'integer', minimum: 0, maximum: 4294967295 } as const

function closed(properties: Record<string, object>, optional: readonly string[] = []) {
  const required = Object.keys(properties).filter((name) => !optional.includes(name))
  return { type: 'object', additionalProperties: false, required, properties } as const
}

const list = (items: object) => ({ type: 'array', items }) as const
const capabilities = list({ type: 'string', pattern: '^CAP_[A-Z_]+$' })
const idMappings = list(closed({ containerID: uint32, hostID: uint32, size: uint32 }))
const namespace = { enum: ['pid', 'network', 'ipc', 'uts', 'mount', 'cgroup', 'user'] }

export const RUNTIME_SPEC_SCHEMA = closed(
  {
    ociVersion: { const: '1.0.2' },
    process: closed({
      terminal: { type: 'boolean' },
      user: closed({ uid: uint32, gid: uint32, additionalGids: list(uint32) }, ['additionalGids']),
      args: { type: 'array', items: text, minItems: 1 },
      env: list({ type: 'string', pattern: '^[^=]+=' }),
      cwd: path,
      capabilities: closed({
        bounding: capabilities,
        effective: capabilities,
        permitted: capabilities,
        ambient: capabilities,
      }),
      rlimits: list(
        closed({ type: { type: 'string', pattern: '^RLIMIT_[A-Z]+$' }, hard: uint32, soft: uint32 }),
      ),
      noNewPrivileges: { const: true },
    }),
    root: closed({ path: text, readonly: { type: 'boolean' } }),
    hostname: { type: 'string', pattern: '^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$' },
    mounts: list(closed({ destination: path, type: text, source: text, options: texts }, ['options'])),
    linux: closed(
      {
        uidMappings: idMappings,
        gidMappings: idMappings,
        resources: closed({ devices: list(closed({ allow: { type: 'boolean' }, access: text })) }),
        namespaces: list(closed({ type: namespace })),
        maskedPaths: list(path),
        readonlyPaths: list(path),
      },
      ['uidMappings', 'gidMappings', 'resources'],
    ),
    annotations: {
      type: 'object',
      additionalProperties: text,
      propertyNames: { type: 'string', minLength: 1 },
    },
  },
  ['annotations'],
)
