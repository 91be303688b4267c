/**
 * A small image made from nothing: two layers, one program, as an OCI layout. For the quickstart, which needs no network
 * and no files of the host.
 *
 * The program is a static ELF file of a few instructions, write(2) and exit(2), so it runs in an otherwise empty rootfs.
 */
import { createHash } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { gzipSync } from 'node:zlib'

export const SAMPLE_TAG = 'hello'

const GREETING = 'Hello! This is the only program of this container.\n'

/**
 * Writes the layout into a new directory.
 *
 * @param arch architecture as Node names it
 * @returns whether the image has a program that this machine can run
 */
export function writeSampleImage(directory: string, arch: string): boolean {
  const machine = MACHINES[arch]
  mkdirSync(`${directory}/blobs/sha256`, { recursive: true })
  const layers = [gzipLayer(baseLayer(machine)), gzipLayer(changesLayer())]
  const config = json({
    os: 'linux',
    architecture: machine?.goarch ?? arch,
    config: {
      Env: ['PATH=/bin', 'MADE_BY=groot'],
      Cmd: ['hello'],
      WorkingDir: '/home',
      User: 'guest',
      Labels: { 'org.example.purpose': 'quickstart' },
    },
    rootfs: { type: 'layers', diff_ids: layers.map((layer) => layer.diffId) },
  })
  const manifest = json({
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    config: putBlob(directory, 'application/vnd.oci.image.config.v1+json', config),
    layers: layers.map(({ blob }) => putBlob(directory, 'application/vnd.oci.image.layer.v1.tar+gzip', blob)),
  })
  const descriptor = putBlob(directory, 'application/vnd.oci.image.manifest.v1+json', manifest)
  const annotations = { 'org.opencontainers.image.ref.name': SAMPLE_TAG }
  writeFileSync(`${directory}/oci-layout`, json({ imageLayoutVersion: '1.0.0' }))
  writeFileSync(
    `${directory}/index.json`,
    json({ schemaVersion: 2, manifests: [{ ...descriptor, annotations }] }),
  )
  return machine !== undefined
}

function baseLayer(machine: Machine | undefined): Buffer {
  return tar([
    { path: 'bin/', mode: 0o755 },
    ...(machine === undefined
      ? []
      : [{ path: 'bin/hello', mode: 0o755, content: machine.program(GREETING) }]),
    { path: 'etc/', mode: 0o755 },
    { path: 'etc/passwd', mode: 0o644, content: 'root:x:0:0:root:/:\nguest:x:1000:1000:Guest:/home:\n' },
    { path: 'etc/group', mode: 0o644, content: 'root:x:0:\nguest:x:1000:\nusers:x:100:guest\n' },
    { path: 'etc/motd', mode: 0o644, content: 'This file is removed by the second layer.\n' },
    { path: 'home/', mode: 0o755, id: 1000 },
    { path: 'dev/', mode: 0o755 },
    { path: 'proc/', mode: 0o755 },
    { path: 'sys/', mode: 0o755 },
  ])
}

function changesLayer(): Buffer {
  return tar([
    { path: 'etc/.wh.motd', mode: 0o644, content: '' },
    {
      path: 'home/note.txt',
      mode: 0o600,
      id: 1000,
      content: 'The second layer added this file, and removed /etc/motd.\n',
    },
    { path: 'home/start', mode: 0o777, linkTo: '../bin/hello' },
  ])
}

interface Member {
  /** Directories end with a slash. */
  readonly path: string
  readonly mode: number
  /** User and group; default 0. */
  readonly id?: number
  readonly content?: string | Buffer
  readonly linkTo?: string
}

function tar(members: readonly Member[]): Buffer {
  const parts = members.flatMap((member) => {
    const content = Buffer.from(member.content ?? '')
    return [tarHeader(member, content.length), content, Buffer.alloc(-content.length & 511)]
  })
  return Buffer.concat([...parts, Buffer.alloc(1024)])
}

/** One ustar header block (pax(1), "ustar Interchange Format"). */
function tarHeader({ path, mode, id = 0, linkTo }: Member, size: number): Buffer {
  const header = Buffer.alloc(512)
  const octal = (value: number, digits: number, at: number) =>
    header.write(`${value.toString(8).padStart(digits, '0')}\0`, at, 'latin1')
  header.write(path, 0, 100, 'latin1')
  octal(mode, 7, 100)
  octal(id, 7, 108)
  octal(id, 7, 116)
  octal(size, 11, 124)
  octal(0, 11, 136) // the epoch, so that the image is the same wherever it is made
  header.write(linkTo === undefined ? (path.endsWith('/') ? '5' : '0') : '2', 156, 'latin1')
  header.write(linkTo ?? '', 157, 100, 'latin1')
  header.write('ustar\x0000', 257, 'latin1')
  header.fill(' ', 148, 156)
  const sum = header.reduce((total, byte) => total + byte, 0)
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1')
  return header
}

function gzipLayer(plain: Buffer): { readonly blob: Buffer; readonly diffId: string } {
  return { blob: gzipSync(plain), diffId: sha256(plain) }
}

function putBlob(directory: string, mediaType: string, bytes: Buffer) {
  const digest = sha256(bytes)
  writeFileSync(`${directory}/blobs/${digest.replace(':', '/')}`, bytes)
  return { mediaType, digest, size: bytes.length }
}

function sha256(bytes: Buffer): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`
}

function json(document: object): Buffer {
  return Buffer.from(JSON.stringify(document))
}

interface Machine {
  /** Architecture as image configs name it. */
  readonly goarch: string
  /** A static program that prints a text and ends. */
  program(text: string): Buffer
}

const MACHINES: Readonly<Record<string, Machine | undefined>> = {
  x64: { goarch: 'amd64', program: (text) => elf(62, Buffer.concat([x64Code(text), Buffer.from(text)])) },
  arm64: {
    goarch: 'arm64',
    program: (text) => elf(183, Buffer.concat([arm64Code(text), Buffer.from(text)])),
  },
}

function x64Code(text: string): Buffer {
  const code = Buffer.from([
    ...[0xb8, 1, 0, 0, 0], // mov eax, 1 (write)
    ...[0xbf, 1, 0, 0, 0], // mov edi, 1 (standard output)
    ...[0x48, 0x8d, 0x35, 16, 0, 0, 0], // lea rsi, [rip + 16], the text behind the code
    ...[0xba, 0, 0, 0, 0], // mov edx, its length
    ...[0x0f, 0x05], // syscall
    ...[0xb8, 60, 0, 0, 0], // mov eax, 60 (exit)
    ...[0x31, 0xff], // xor edi, edi
    ...[0x0f, 0x05], // syscall
  ])
  code.writeUInt32LE(Buffer.byteLength(text), 18)
  return code
}

function arm64Code(text: string): Buffer {
  const words = [
    0xd2800020, // mov x0, #1 (standard output)
    0x100000e1, // adr x1, 28 bytes on, the text behind the code
    0xd2800002 + Buffer.byteLength(text) * 32, // mov x2, its length: 16 bits, from bit 5
    0xd2800808, // mov x8, #64 (write)
    0xd4000001, // svc #0
    0xd2800000, // mov x0, #0
    0xd2800ba8, // mov x8, #93 (exit)
    0xd4000001, // svc #0
  ]
  const code = Buffer.alloc(words.length * 4)
  words.forEach((word, index) => {
    code.writeUInt32LE(word, index * 4)
  })
  return code
}

const BASE_ADDRESS = 0x400000
const HEADER_BYTES = 64 + 56 // ELF header and one program header

/** An executable of one segment: the headers themselves and the code behind them (elf(5)). */
function elf(machine: number, code: Buffer): Buffer {
  const header = Buffer.alloc(HEADER_BYTES)
  header.write('\x7fELF\x02\x01\x01', 'latin1') // 64 bits, little-endian
  header.writeUInt16LE(2, 16) // an executable
  header.writeUInt16LE(machine, 18)
  header.writeUInt32LE(1, 20)
  header.writeBigUInt64LE(BigInt(BASE_ADDRESS + HEADER_BYTES), 24) // the first instruction
  header.writeBigUInt64LE(64n, 32) // where the program header is
  header.writeUInt16LE(64, 52)
  header.writeUInt16LE(56, 54)
  header.writeUInt16LE(1, 56)
  const size = BigInt(HEADER_BYTES + code.length)
  header.writeUInt32LE(1, 64) // to be loaded
  header.writeUInt32LE(5, 68) // readable and executable
  header.writeBigUInt64LE(BigInt(BASE_ADDRESS), 80)
  header.writeBigUInt64LE(BigInt(BASE_ADDRESS), 88)
  header.writeBigUInt64LE(size, 96)
  header.writeBigUInt64LE(size, 104)
  header.writeBigUInt64LE(0x10000n, 112) // pages of arm64 have up to 64 KiB
  return Buffer.concat([header, code])
}
