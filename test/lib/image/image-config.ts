/** Image configs for the tests of this directory: one that says nothing, and what a test adds to it. */
import type { ImageConfig, ImageProcess } from '../../../lib/image/config.js'

const EMPTY_PROCESS: ImageProcess = {
  env: [],
  entrypoint: [],
  cmd: [],
  exposedPorts: [],
  volumes: [],
  labels: {},
}

export function imageConfig(
  process: Partial<ImageProcess> = {},
  rest: Partial<Omit<ImageConfig, 'process'>> = {},
): ImageConfig {
  return {
    os: 'linux',
    architecture: 'amd64',
    diffIds: [],
    ...rest,
    process: { ...EMPTY_PROCESS, ...process },
  }
}
