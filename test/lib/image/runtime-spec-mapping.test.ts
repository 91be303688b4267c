import { Ajv } from 'ajv'
import { describe, expect, it } from 'vitest'
import { checkMapping, parseIdRange } from '../../../lib/ids/mapping.js'
import { runtimeSpec, type SpecRequest } from '../../../lib/image/runtime-spec.js'
import { imageConfig } from './image-config.js'
import { RUNTIME_SPEC_SCHEMA } from './runtime-spec-schema.js'

const REQUEST: SpecRequest = {
  rootfsPath: 'rootfs',
  readOnly: false,
  user: { uid: 7, gid: 8, additionalGids: [9] },
  bundleId: 'web-1',
  rootless: null,
}
const mapped = (uid: string, gid: string) => {
  const ranges = (text: string) => text.split(',').map((each) => parseIdRange(each, 'uid-mapping'))
  const mapping = checkMapping({ uid: ranges(uid), gid: ranges(gid) })
  return runtimeSpec(imageConfig(), { ...REQUEST, mapping })
}

describe('a container with mapped ids', () => {
  it('differs from another by its user namespace and the maps of it', () => {
    const plain = runtimeSpec(imageConfig(), REQUEST)
    expect(mapped('1000:500000:64536,0:200000:1000', '0:100000:65536')).toEqual({
      ...plain,
      linux: {
        ...plain.linux,
        uidMappings: [
          { containerID: 0, hostID: 200_000, size: 1000 },
          { containerID: 1000, hostID: 500_000, size: 64_536 },
        ],
        gidMappings: [{ containerID: 0, hostID: 100_000, size: 65_536 }],
        namespaces: [...plain.linux.namespaces, { type: 'user' }],
      },
    })
  })

  it('gives terminals to their group where the group has an id', () => {
    const optionsOf = (gid: string) =>
      mapped('0:100000:65536', gid).mounts.find(({ destination }) => destination === '/dev/pts')?.options
    expect(optionsOf('0:100000:6')).toContain('gid=5')
    expect(optionsOf('0:100000:5')).not.toContain('gid=5')
    expect(optionsOf('0:100000:1,6:200000:10')).not.toContain('gid=5')
  })

  it('keeps to the runtime-spec', () => {
    const validate = new Ajv({ strict: true, allErrors: true }).compile(RUNTIME_SPEC_SCHEMA)
    validate(mapped('0:100000:65536', '0:100000:65536'))
    expect(validate.errors).toBeNull()
  })
})
