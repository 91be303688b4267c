/**
 * What the tests of operations share: a directory with an image layout and a store in it.
 */
import { mkdtempSync, readdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { CreateRequest } from '../../../lib/index.js'
import { type LayerBuilder, layer } from '../../../lib/testkit/layer.js'
import { writeLayout } from '../../images/layout.js'
import { removeScratch } from '../../support/mounts.js'

export const AS_ROOT = process.geteuid?.() === 0

export class Place {
  readonly directory = mkdtempSync(join(tmpdir(), 'groot-place-'))
  readonly store = `${this.directory}/store`
  #images = 0

  /** Writes an image of these layers; its name for create. */
  image(layers: readonly LayerBuilder[] = [sampleLayer()], config: Record<string, unknown> = {}): string {
    const name = `image${++this.#images}`
    writeLayout(
      `${this.directory}/${name}`,
      [{ name, layers: layers.map((each) => each.build()), config }],
      ['gzip'],
    )
    return `oci:${this.directory}/${name}`
  }

  request(change: Partial<CreateRequest> = {}): CreateRequest {
    return { image: change.image ?? this.image(), id: 'b1', ignoreOwnership: !AS_ROOT, ...change }
  }

  /** Names of what the store holds, folder by folder; objects and locks aside. */
  contents(): Record<string, string[]> {
    const folders = ['bundles', 'records', 'leases', 'staging', 'trash'] as const
    return Object.fromEntries(folders.map((name) => [name, readdirSync(`${this.store}/${name}`).sort()]))
  }

  remove(): void {
    removeScratch(this.directory)
  }
}

export const EMPTY = { bundles: [], records: [], leases: [], staging: [], trash: [] }

export function sampleLayer(): LayerBuilder {
  return layer()
    .dir('etc')
    .file('etc/passwd', 'root:x:0:0::/root:/bin/sh\nweb:x:1000:1001::/home/web:/bin/sh\n')
    .file('etc/group', 'root:x:0:\nweb:x:1001:\nextra:x:2000:web\n')
    .file('large', Buffer.alloc(200_000, 'large'))
    .symlink('link', 'large')
}
