/**
 * The table of system calls: every C function that groot calls stands here, and nowhere else.
 *
 * The C library is loaded when the first call is made, once per thread. What a call means, when it is made again and how
 * its errors are told is the business of the other files of this room; here are only names and types.
 */
import { UnsupportedError } from '../errors.js'
import { type Koffi, loadKoffi } from './koffi.js'
import { callOnPool } from './thread-pool.js'
import { Turns } from './turns.js'

/** The C types that the table uses, and what stands for them here. */
interface TypeMap {
  int: number
  uint: number
  int64: number | bigint
  uint64: number | bigint
  /** Memory that the kernel reads or writes while the call runs; null is NULL. */
  'void *': Uint8Array | null
}

type CType = keyof TypeMap

interface Declaration {
  /** A count or an offset in an `int64` is below 2^53, so both come back as a number. */
  readonly result: 'int' | 'int64'
  readonly parameters: readonly CType[]
  /** Name in the C library, when the key is not it. */
  readonly symbol?: string
  /** Number of the system call, for C libraries that have no function for it (asm/unistd.h). */
  readonly number?: { readonly x64: number; readonly arm64: number }
}

/*
 * mode_t, uid_t and gid_t are unsigned int, dev_t is 64 bits wide, off_t and ssize_t are long on all that is supported.
 * open, openat and ioctl are variadic in C; for whole numbers both calling conventions pass that the same way.
 */
export const CALLS = {
  openat: { result: 'int', parameters: ['int', 'void *', 'int', 'uint'] },
  close: { result: 'int', parameters: ['int'] },
  mkdirat: { result: 'int', parameters: ['int', 'void *', 'uint'] },
  mknodat: { result: 'int', parameters: ['int', 'void *', 'uint', 'uint64'] },
  symlinkat: { result: 'int', parameters: ['void *', 'int', 'void *'] },
  readlinkat: { result: 'int64', parameters: ['int', 'void *', 'void *', 'uint64'] },
  linkat: { result: 'int', parameters: ['int', 'void *', 'int', 'void *', 'int'] },
  unlinkat: { result: 'int', parameters: ['int', 'void *', 'int'] },
  renameat2: {
    result: 'int',
    parameters: ['int', 'void *', 'int', 'void *', 'uint'],
    number: { x64: 316, arm64: 276 },
  },
  fchownat: { result: 'int', parameters: ['int', 'void *', 'uint', 'uint', 'int'] },
  fchown: { result: 'int', parameters: ['int', 'uint', 'uint'] },
  fchmodat: { result: 'int', parameters: ['int', 'void *', 'uint', 'int'] },
  fchmod: { result: 'int', parameters: ['int', 'uint'] },
  utimensat: { result: 'int', parameters: ['int', 'void *', 'void *', 'int'] },
  futimens: { result: 'int', parameters: ['int', 'void *'] },
  lseek: { result: 'int64', parameters: ['int', 'int64', 'int'] },
  ftruncate: { result: 'int', parameters: ['int', 'int64'] },
  pread: { result: 'int64', parameters: ['int', 'void *', 'uint64', 'int64'] },
  pwrite: { result: 'int64', parameters: ['int', 'void *', 'uint64', 'int64'] },
  copy_file_range: {
    result: 'int64',
    parameters: ['int', 'void *', 'int', 'void *', 'uint64', 'uint'],
    number: { x64: 326, arm64: 285 },
  },
  ioctlNumber: { result: 'int', parameters: ['int', 'uint64', 'int64'], symbol: 'ioctl' },
  ioctlMemory: { result: 'int', parameters: ['int', 'uint64', 'void *'], symbol: 'ioctl' },
  fsopen: { result: 'int', parameters: ['void *', 'uint'], number: { x64: 430, arm64: 430 } },
  fsconfig: {
    result: 'int',
    parameters: ['int', 'uint', 'void *', 'void *', 'int'],
    number: { x64: 431, arm64: 431 },
  },
  fsmount: { result: 'int', parameters: ['int', 'uint', 'uint'], number: { x64: 432, arm64: 432 } },
  move_mount: {
    result: 'int',
    parameters: ['int', 'void *', 'int', 'void *', 'uint'],
    number: { x64: 429, arm64: 429 },
  },
  read: { result: 'int64', parameters: ['int', 'void *', 'uint64'] },
  open_tree: { result: 'int', parameters: ['int', 'void *', 'uint'], number: { x64: 428, arm64: 428 } },
  fallocate: { result: 'int', parameters: ['int', 'int', 'int64', 'int64'] },
  quotactl: { result: 'int', parameters: ['int', 'void *', 'int', 'void *'] },
  quotactl_fd: {
    result: 'int',
    parameters: ['int', 'uint', 'int', 'void *'],
    number: { x64: 443, arm64: 443 },
  },
  umount2: { result: 'int', parameters: ['void *', 'int'] },
  statx: {
    result: 'int',
    parameters: ['int', 'void *', 'int', 'uint', 'void *'],
    number: { x64: 332, arm64: 291 },
  },
  statfs: { result: 'int', parameters: ['void *', 'void *'] },
  fstatfs: { result: 'int', parameters: ['int', 'void *'] },
  getdents64: { result: 'int64', parameters: ['int', 'void *', 'uint64'], number: { x64: 217, arm64: 61 } },
  fsetxattr: { result: 'int', parameters: ['int', 'void *', 'void *', 'uint64', 'int'] },
  lsetxattr: { result: 'int', parameters: ['void *', 'void *', 'void *', 'uint64', 'int'] },
  fgetxattr: { result: 'int64', parameters: ['int', 'void *', 'void *', 'uint64'] },
  lgetxattr: { result: 'int64', parameters: ['void *', 'void *', 'void *', 'uint64'] },
  flistxattr: { result: 'int64', parameters: ['int', 'void *', 'uint64'] },
  llistxattr: { result: 'int64', parameters: ['void *', 'void *', 'uint64'] },
  fremovexattr: { result: 'int', parameters: ['int', 'void *'] },
  lremovexattr: { result: 'int', parameters: ['void *', 'void *'] },
  fsync: { result: 'int', parameters: ['int'] },
  syncfs: { result: 'int', parameters: ['int'] },
  sync_file_range: { result: 'int', parameters: ['int', 'int64', 'int64', 'uint'] },
  flock: { result: 'int', parameters: ['int', 'int'] },
  /** The address, which user space has below 2^47 on all that is supported, or -1. */
  mmap: { result: 'int64', parameters: ['uint64', 'uint64', 'int', 'int', 'int', 'int64'] },
  munmap: { result: 'int', parameters: ['uint64', 'uint64'] },
  io_uring_setup: { result: 'int', parameters: ['uint', 'void *'], number: { x64: 425, arm64: 425 } },
  io_uring_enter: {
    result: 'int',
    parameters: ['int', 'uint', 'uint', 'uint', 'void *', 'uint64'],
    number: { x64: 426, arm64: 426 },
  },
  io_uring_register: {
    result: 'int',
    parameters: ['int', 'uint', 'void *', 'uint'],
    number: { x64: 427, arm64: 427 },
  },
} as const satisfies Record<string, Declaration>

type Arguments<P extends readonly CType[]> = { -readonly [I in keyof P]: TypeMap[P[I]] }
type Table = typeof CALLS

/** The functions of the table, as they are called here. All give -1 for an error. */
export type Calls = {
  readonly [Name in keyof Table]: (...values: Arguments<Table[Name]['parameters']>) => number
} & {
  /** errno of the last call on this thread; ask before anything else is called. */
  readonly errno: () => number
  /** strerror(3): `No space left on device`. */
  readonly strerror: (errno: number) => string
  /** Where memory is, for structures that point to others. Only for buffers of more than 64 bytes: smaller ones may move. */
  readonly addressOf: (memory: Uint8Array) => bigint
  /** What waits for the disk, on Node's thread pool: 0, or what errno was. */
  readonly syncfsLater: (fd: number) => Promise<number>
  readonly fsyncLater: (fd: number) => Promise<number>
  readonly ioctlMemoryLater: (fd: number, request: number, memory: Uint8Array) => Promise<number>
  readonly syncFileRangeLater: (fd: number, offset: number, length: number, flags: number) => Promise<number>
  /** What is mapped at an address. It must not be touched any more once it is unmapped. */
  readonly viewOf: (address: number, length: number) => ArrayBuffer
}

type Library = ReturnType<Koffi['load']>
type KoffiFunction = ReturnType<Library['func']>
type Call = (...values: unknown[]) => unknown
type Later = (...values: unknown[]) => Promise<number>

// Per thread and for ever: what it costs to load must be paid once, and there is only one C library.
let loaded: Calls | undefined

/**
 * The system calls.
 *
 * @throws {UnsupportedError} `system-unsupported` when this is not Linux on x86-64 or arm64, or koffi does not work here
 */
export function calls(): Calls {
  loaded ??= loadCalls()
  return loaded
}

/**
 * Loads the table anew; `calls()` is for everybody but tests.
 *
 * @param platform what the machine is, as `process.platform` and `process.arch` say it
 * @param preferNumbers whether to go by the numbers of system calls also where the C library has a function
 */
export function loadCalls(
  platform: string = process.platform,
  arch: string = process.arch,
  preferNumbers = false,
): Calls {
  if (platform !== 'linux' || (arch !== 'x64' && arch !== 'arm64')) {
    const found = `${platform}/${arch}`
    throw new UnsupportedError(
      'system-unsupported',
      `Cannot make system calls on ${found}: groot needs Linux on x64 or arm64`,
      { facts: { found } },
    )
  }
  try {
    return declareAll(arch, preferNumbers)
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    throw new UnsupportedError('system-unsupported', `Cannot load the C library through koffi: ${reason}`, {
      facts: { found: `${platform}/${arch}` },
      cause: error,
    })
  }
}

function declareAll(arch: 'x64' | 'arm64', preferNumbers: boolean): Calls {
  const native = loadKoffi()
  // The program itself is linked with the C library, whichever that is.
  const library = native.load(null)
  const table: Record<string, unknown> = {}
  for (const [name, declaration] of Object.entries<Declaration>(CALLS)) {
    // Declared by its first call: that of all takes 10 ms, and no process needs all.
    table[name] = (...values: unknown[]) => {
      const call = declare(library, name, declaration, arch, preferNumbers)
      table[name] = call
      return call(...values)
    }
  }
  table.errno = native.errno
  table.strerror = (errno: number) => library.func('strerror', 'str', ['int'])(errno)
  table.addressOf = native.address
  const onPool = (name: keyof typeof CALLS): Later => {
    const { symbol, result, parameters }: Declaration = CALLS[name]
    let call: KoffiFunction | undefined
    return (...values) => {
      call ??= library.func(symbol ?? name, result, [...parameters])
      const onThread = call
      return turns.run(() => callOnPool(onThread, values, (got) => (got < 0 ? native.errno() : 0)))
    }
  }
  table.syncfsLater = onPool('syncfs')
  table.fsyncLater = onPool('fsync')
  table.syncFileRangeLater = onPool('sync_file_range')
  table.ioctlMemoryLater = onPool('ioctlMemory')
  table.viewOf = (address: number, length: number) => native.view(BigInt(address), length)
  // Filled from the same table that the type is made of.
  return table as Calls
}

/** koffi refuses calls when 256 are under way; the thread pool has four threads. */
const turns = new Turns(16)

function declare(
  library: Library,
  name: string,
  declaration: Declaration,
  arch: 'x64' | 'arm64',
  preferNumber: boolean,
): Call {
  const symbol = declaration.symbol ?? name
  const number = declaration.number?.[arch]
  const byNumber = (): Call => {
    const types = declaration.parameters.map((type) =>
      type === 'int' ? 'int64' : type === 'uint' ? 'uint64' : type,
    )
    const syscall = library.func('syscall', 'int64', ['int64', ...types])
    return (...values: unknown[]) => syscall(number, ...values)
  }
  if (preferNumber && number !== undefined) return byNumber()
  try {
    return library.func(symbol, declaration.result, [...declaration.parameters])
  } catch (error) {
    if (number === undefined) throw error
    return byNumber()
  }
}
