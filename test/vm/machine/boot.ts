/**
 * Runs one machine from its start to its end, and gives what it reported.
 *
 * qemu emulates the processor (TCG), also where KVM could be had: the same everywhere, and no rights are needed. Nothing
 * here knows what the machine is for.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { findTool } from '../../images/tools.js'
import type { Disk } from './disks.js'
import { initramfs } from './initramfs.js'
import type { Kernel } from './kernel.js'
import { QEMU } from './needs.js'
import { type CheckLine, type End, parseLine, REPORT_PORT, type Report } from './report.js'

/** What all machines of a run share. */
export interface Workshop {
  readonly kernel: Kernel
  readonly busybox: string
  /** Image of the system disk. */
  readonly system: string
  /** Directory for what one machine needs. */
  readonly scratch: string
}

export interface MachineSpec {
  /** Mounted in the machine; what is written stays in the image files, so a second machine can go on with them. */
  readonly disks: readonly Disk[]
  /** Arguments of the guest program. */
  readonly args: readonly string[]
  /** Real time, from start to switched off. */
  readonly limitSeconds: number
  /** Mebibytes. Default 768. */
  readonly memory?: number
}

/** A kernel that is not up by then never will be. A busy host takes 30 seconds, an idle one 5. */
const BOOT_SECONDS = 120

/** How long the guest's own clock may go on after the host's has run out. */
const GRACE_SECONDS = 60

/**
 * Boots, waits for the end, and reports. A machine that fails is a report too; only a host that cannot run it throws.
 *
 * @throws {Error} when qemu cannot be started, or the report is not one
 */
export async function runMachine(workshop: Workshop, spec: MachineSpec): Promise<Report> {
  const directory = mkdtempSync(join(workshop.scratch, 'machine-'))
  const started = performance.now()
  try {
    const [ramdisk, consoleLog] = [join(directory, 'initramfs'), join(directory, 'console')]
    const args = [String(spec.limitSeconds + GRACE_SECONDS), ...spec.args]
    writeFileSync(ramdisk, initramfs({ ...workshop, disks: spec.disks, args }))
    writeFileSync(consoleLog, '')
    const heard = await listen(startQemu(workshop, spec, ramdisk, consoleLog), spec.limitSeconds)
    return {
      ...heard,
      console: readFileSync(consoleLog, 'utf8'),
      seconds: (performance.now() - started) / 1000,
    }
  } finally {
    rmSync(directory, { recursive: true })
  }
}

/** As little hardware as there can be; the report is qemu's standard output. */
function startQemu(
  workshop: Workshop,
  { disks, memory = 768 }: MachineSpec,
  ramdisk: string,
  consoleLog: string,
): ChildProcess {
  const drives = [
    `file=${escaped(workshop.system)},format=raw,if=virtio,readonly=on`,
    ...disks.map(({ file }) => `file=${escaped(file)},format=raw,if=virtio,cache=unsafe,discard=unmap`),
  ]
  const qemu = [
    findTool(QEMU)!,
    ...['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot'],
    ...['-machine', 'q35', '-accel', 'tcg,thread=multi', '-smp', '2', '-m', String(memory)],
    // TCG gets cmpxchg16b wrong as this kernel's allocator uses it, which ends in a double fault; without, it is not used.
    ...['-cpu', 'Nehalem,-cx16'],
    ...['-kernel', workshop.kernel.image, '-initrd', ramdisk, '-append', KERNEL_ARGUMENTS],
    ...['-serial', `file:${consoleLog}`],
    ...drives.flatMap((drive) => ['-drive', drive]),
    ...['-device', 'virtio-rng-pci'],
    ...['-device', 'virtio-serial-pci', '-chardev', 'stdio,id=report,signal=off'],
    ...['-device', `virtserialport,chardev=report,name=${REPORT_PORT}`],
  ]
  // A machine must not outlive the process that waits for it, however that ends. Standard input stays open and silent:
  // at its end qemu takes the reader of the report for gone, and the guest waits for another.
  return spawn(findTool('setpriv')!, ['--pdeathsig', 'KILL', ...qemu], { stdio: 'pipe' })
}

/**
 * A panic ends the machine at once, and says why on the console. No self-tests of ciphers: seconds under emulation. No
 * test of the timer, which fails when the host is busy at that moment.
 */
const KERNEL_ARGUMENTS =
  'console=ttyS0 loglevel=4 panic=-1 oops=panic mitigations=off cryptomgr.notests no_timer_check'

/** qemu doubles commas in values of options. */
function escaped(path: string): string {
  return path.replaceAll(',', ',,')
}

async function listen(
  qemu: ChildProcess,
  limitSeconds: number,
): Promise<Pick<Report, 'release' | 'checks' | 'end'>> {
  const checks: CheckLine[] = []
  let release: string | null = null
  let end: End | null = null
  let unreadable: unknown
  const errors: Buffer[] = []
  qemu.stderr!.on('data', (bytes: Buffer) => errors.push(bytes))
  const lines = createInterface({ input: qemu.stdout! })
  lines.on('line', (text) => {
    try {
      const line = parseLine(text)
      if (line.kind === 'up') release = line.release
      else if (line.kind === 'check') checks.push(line)
      // The first that was told: what comes after it only follows from it.
      else end ??= line
    } catch (error) {
      unreadable ??= error
      qemu.kill('SIGKILL')
    }
  })
  const stop = (why: End): void => {
    end ??= why
    qemu.kill('SIGKILL')
  }
  const bootTimer = setTimeout(() => {
    if (release !== null) return
    stop({ kind: 'lost', status: `not up after ${BOOT_SECONDS} seconds`, emulatorCrashed: false })
  }, BOOT_SECONDS * 1000)
  const timer = setTimeout(() => stop({ kind: 'out-of-time', seconds: limitSeconds }), limitSeconds * 1000)
  try {
    const closed = new Promise((settle) => lines.once('close', settle))
    const [code, signal] = await new Promise<[number | null, NodeJS.Signals | null]>((settle, reject) => {
      qemu.on('error', reject)
      qemu.on('close', (...status) => settle(status))
    })
    await closed
    if (unreadable !== undefined) throw unreadable
    const said = Buffer.concat(errors).toString().trim()
    const status = `${signal ?? `exit ${code}`}${said === '' ? '' : `: ${said}`}`
    return { release, checks, end: end ?? { kind: 'lost', status, emulatorCrashed: signal !== null } }
  } finally {
    clearTimeout(bootTimer)
    clearTimeout(timer)
  }
}
