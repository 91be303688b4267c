import { mkdtempSync, openSync, readdirSync, readlinkSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import type { ByteString } from '../../../lib/bytes.js'
import { close } from '../../../lib/linux/files.js'
import { type CrewBatch, ScanCrew } from '../../../lib/worker/scan-crew.js'
import type { FileRecord } from '../../../lib/worker/scan-files.js'
import { giveBackScanThread, takeScanThread } from '../../../lib/worker/scan-threads.js'

let directory: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'groot-scan-'))
})
afterEach(() => rmSync(directory, { recursive: true }))

it('a thread that is given back is the next to be given, and one that has ended is not', async () => {
  const first = takeScanThread()
  await giveBackScanThread(first)
  const second = takeScanThread()
  expect(second).toBe(first)
  await giveBackScanThread(second)
  await second.terminate()
  const third = takeScanThread()
  expect(third).not.toBe(first)
  await giveBackScanThread(third)
})

it('a thread that ends before it is given back is waited for no longer', async () => {
  const thread = takeScanThread()
  const giving = giveBackScanThread(thread)
  await Promise.all([thread.terminate(), giving])
  const next = takeScanThread()
  expect(next).not.toBe(thread)
  await giveBackScanThread(next)
})

/** Reads all files by threads alone. @returns how many have been read, and what it failed with */
async function scan(names: readonly string[]): Promise<{ read: number; failure: unknown }> {
  const root = openSync(directory, 'r')
  let read = 0
  const settings = { root, algorithm: 'sha256', xattrs: 'all', objects: null } as const
  const received = (_: CrewBatch<string>, records: readonly FileRecord[]) => {
    read += records.length
  }
  const crew = new ScanCrew<string>(settings, 2, received)
  let failure: unknown = null
  try {
    for (const name of names) {
      const batch = { directories: ['' as ByteString], names: [name as ByteString], directoryOf: [0] }
      crew.add({ batch, places: [name] })
    }
    while (await crew.more(undefined)) await new Promise(setImmediate)
  } catch (error) {
    failure = error
  } finally {
    await crew.close()
    close(root)
  }
  return { read, failure }
}

it('scans go on one after the other, after a failure too, and hold nothing open', async () => {
  const names = Array.from({ length: 60 }, (_, i) => `file-${i}`)
  for (const name of names) writeFileSync(`${directory}/${name}`, name.repeat(100))
  expect(await scan(names)).toEqual({ read: 60, failure: null })
  expect((await scan([...names, 'missing'])).failure).toMatchObject({ code: 'source-changed' })
  expect(await scan(names)).toEqual({ read: 60, failure: null })
  const open = readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`)
    } catch {
      return [] // the descriptor that the directory was read by
    }
  })
  expect(open.filter((path) => path.startsWith(directory))).toEqual([])
})
