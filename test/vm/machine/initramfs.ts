/**
 * The first root of a machine: loads modules, mounts the system disk and the disks of the case, and hands over to the
 * system's init.
 *
 * busybox does it all. What fails is told on the report port, where the host waits for an answer, and the machine goes
 * down.
 */
import { readFileSync } from 'node:fs'
import { type CpioEntry, cpioArchive } from './cpio.js'
import { type Disk, KINDS } from './disks.js'
import type { Kernel } from './kernel.js'
import { modulesInOrder } from './modules.js'
import { REPORT_PORT } from './report.js'

/** What every machine needs: disks, random numbers, and what rootfs are made of. ext4 is built into the kernel. */
const MODULES = ['virtio_blk', 'virtio_rng', 'loop', 'erofs', 'overlay']

export interface FirstRoot {
  readonly kernel: Kernel
  /** Path of a static busybox. */
  readonly busybox: string
  /** In the order of the block devices, after the system disk. */
  readonly disks: readonly Disk[]
  /** Arguments for the system's init. */
  readonly args: readonly string[]
}

export function initramfs({ kernel, busybox, disks, args }: FirstRoot): Buffer {
  const wanted = [...MODULES, ...disks.flatMap((disk) => KINDS[disk.kind].modules)]
  const modules = modulesInOrder(kernel.modules, wanted)
  const directories = ['bin', 'dev', 'modules', 'proc', 'sys', 'system']
  const files = modules.map(({ name, content }): CpioEntry => {
    return { kind: 'file', path: `modules/${name}.ko`, mode: 0o644, content }
  })
  return cpioArchive([
    ...directories.map((path): CpioEntry => ({ kind: 'directory', path })),
    { kind: 'file', path: 'bin/busybox', mode: 0o755, content: readFileSync(busybox) },
    ...files,
    {
      kind: 'file',
      path: 'init',
      mode: 0o755,
      content: Buffer.from(
        script(
          modules.map((each) => each.name),
          disks,
          args,
        ),
      ),
    },
  ])
}

/** Shell functions that both inits use: `$port` is the report port, `broken WHY` ends the machine. */
export const REPORT_FUNCTIONS = `
port=/dev/null
for each in /sys/class/virtio-ports/*; do
  if [ "$(cat "$each/name" 2>/dev/null)" = ${REPORT_PORT} ]; then port=/dev/\${each##*/}; fi
done
broken() {
  echo "{\\"kind\\":\\"broken\\",\\"why\\":\\"$1\\"}" >"$port"
  poweroff -f
}`

function script(modules: readonly string[], disks: readonly Disk[], args: readonly string[]): string {
  return `#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
${REPORT_FUNCTIONS}
for name in ${modules.join(' ')}; do
  insmod "/modules/$name.ko" || broken "cannot load the module $name"
done
ip link set lo up
mount -t ext4 -o ro /dev/vda /system || broken 'cannot mount the system disk'
mount -t tmpfs -o mode=1777 tmpfs /system/tmp
${disks.map(mountLine).join('\n')}
for each in proc sys dev; do mount --move "/$each" "/system/$each"; done
exec switch_root /system /bin/busybox sh /init ${args.map(quoted).join(' ')}
`
}

function mountLine(disk: Disk, index: number): string {
  const { type, mountOptions } = KINDS[disk.kind]
  const device = `/dev/vd${String.fromCharCode('b'.charCodeAt(0) + index)}`
  const options = `${mountOptions},noatime`
  return `mount -t ${type} -o ${options} ${device} /system${disk.at} || broken 'cannot mount ${disk.kind} at ${disk.at}'`
}

function quoted(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`
}
