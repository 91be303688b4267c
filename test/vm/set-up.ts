/**
 * Before all tests of machines: finds out whether this host can run any, and makes what they share.
 *
 * What is missing becomes the reason that the tests are skipped for; what should work and does not is an error.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestProject } from 'vitest/node'
import { findTool, ROOT } from '../images/tools.js'
import { sampleImages } from './guest/sample.js'
import type { Workshop } from './machine/boot.js'
import { cacheDirectory, type Kernel, kernelFrom, NoKernel } from './machine/kernel.js'
import { missingForMachines, thisHost } from './machine/needs.js'
import { makeSystemDisk } from './machine/system-disk.js'

/** What tests get: all that machines share, or why there can be none. */
export type Machines =
  | { readonly why: null; readonly workshop: Workshop }
  | { readonly why: string; readonly workshop: null }

declare module 'vitest' {
  interface ProvidedContext {
    machines: Machines
  }
}

export default async function setUp(project: TestProject): Promise<() => void> {
  const why = missingForMachines(thisHost())
  const kernel = why === null ? await kernelOrReason() : why
  if (typeof kernel === 'string') {
    console.log(`No machine can run here: ${kernel}`)
    project.provide('machines', { why: kernel, workshop: null })
    return () => {}
  }
  const scratch = mkdtempSync(join(tmpdir(), 'groot-vm-'))
  const remove = (): void => rmSync(scratch, { recursive: true, force: true })
  try {
    const busybox = findTool('busybox')!
    const system = await makeSystemDisk({ root: ROOT, busybox, images: sampleImages(), scratch })
    project.provide('machines', { why: null, workshop: { kernel, busybox, system, scratch } })
  } catch (error) {
    remove()
    throw error
  }
  return remove
}

async function kernelOrReason(): Promise<Kernel | string> {
  try {
    return await kernelFrom(cacheDirectory())
  } catch (error) {
    if (error instanceof NoKernel) return `needs Debian's kernel 6.12: ${error.message}`
    throw error
  }
}
