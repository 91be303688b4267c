/**
 * The ingest alone: the layers of an image become objects and layer records in a new store, without a rootfs. The first
 * half of create, by the same code. Run as `node ingest.js STORE IMAGE`.
 */

import { hostPlatform } from '../lib/image/platform.js'
import { DEFAULT_LIMITS } from '../lib/layer/limits.js'
import { initStore } from '../lib/operations/init-store.js'
import { ingestMissingLayers } from '../lib/operations/layers.js'
import { openExisting } from '../lib/operations/opened-store.js'
import { openSource } from '../lib/sources/open.js'
import { Lease } from '../lib/store/leases.js'

const [path, image] = process.argv.slice(2)
if (path === undefined || image === undefined) throw new Error('Usage: ingest.js STORE IMAGE')

await initStore({ path })
const store = await openExisting(path, undefined, 'bench', () => {})
if (store === null) throw new Error(`There is no store at ${path}`)
const { signal } = new AbortController()
const locking = { timeoutMs: 60_000, signal }
const events = () => {}
{
  await using lease = new Lease(store.layout, store.locks, locking)
  await using source = await openSource(
    image,
    { events, limits: DEFAULT_LIMITS, scratch: async () => lease.staging() },
    { insecureRegistries: [] },
  )
  const resolved = await source.resolve({ platform: hostPlatform(process.arch), signal })
  const limits = DEFAULT_LIMITS
  await ingestMissingLayers(store, resolved, {
    lease,
    limits,
    events,
    signal,
    locking,
    source: async () => source,
  })
}
await store.workers.close()
