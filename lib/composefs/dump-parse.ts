/**
 * composefs-dump(5) to nodes: the text form in which mkcomposefs reads trees with `--from-file`.
 *
 * Takes the text in pieces of any size and keeps one line of it. Accepts what mkcomposefs 1.0.8 accepts, less what it lets
 * pass by accident: digests of a wrong length, links to directories, circles of links, and lines without all their fields.
 */
import { asBuffer, type ByteString } from '../bytes.js'
import { ImageError } from '../errors.js'
import { checkName } from './check-node.js'
import { DumpLine, type DumpRules, entryOfLine, pathOfLine } from './dump-line.js'
import { NodeFault, shown } from './faults.js'
import type { ComposefsEntry, ComposefsLink, ComposefsNode } from './node.js'

export type DumpOptions = Partial<DumpRules>

/** Far more than an entry takes whose path the kernel could open. */
const MAX_LINE_BYTES = 8 * 1024 * 1024
const NEWLINE = 0x0a

/**
 * @param text whole, or in pieces
 * @throws {ImageError} `dump-invalid`; the facts name the line, the cause and its errno
 */
export function parseDump(text: Uint8Array | Iterable<Uint8Array>, options: DumpOptions = {}): ComposefsNode {
  const parser = new DumpParser(options)
  if (text instanceof Uint8Array) parser.push(text)
  else for (const piece of text) parser.push(piece)
  return parser.end()
}

type Directory = ComposefsNode & { readonly children: Map<ByteString, ComposefsEntry> }

type Link = { -readonly [K in keyof ComposefsLink]: ComposefsLink[K] }

/** What is known of a link whose target is looked for when all lines are read. */
interface OpenLink {
  readonly targetPath: ByteString
  readonly path: ByteString
  readonly line: number
}

/**
 * For text that comes by and by: `push` each piece as it comes, then `end`. After an error the parser cannot be used any more.
 * Memory: the nodes, and one line of the text.
 */
export class DumpParser {
  readonly #rules: DumpRules
  #line = 0
  /** What is there of a line that has not ended: the first bytes of a buffer that grows. */
  #rest = Buffer.alloc(0)
  #restBytes = 0
  #root: Directory | null = null
  readonly #links = new Map<Link, OpenLink>()
  /** Lines come in the order of their directories, as a rule. */
  #lastParent: { readonly path: ByteString; readonly directory: Directory } | null = null

  constructor(options: DumpOptions = {}) {
    this.#rules = { strict: options.strict ?? false, algorithm: options.algorithm ?? 'sha256' }
  }

  /**
   * Takes the next piece, of any size, whose memory the caller may use again.
   *
   * @throws {ImageError} `dump-invalid`; the facts name the line, the cause and its errno
   */
  push(piece: Uint8Array): void {
    const bytes = asBuffer(piece)
    let at = 0
    for (let end = bytes.indexOf(NEWLINE); end !== -1; end = bytes.indexOf(NEWLINE, at)) {
      this.#take(this.#joined(bytes.subarray(at, end)))
      at = end + 1
    }
    if (at < bytes.length) this.#keep(bytes.subarray(at))
  }

  /**
   * Ends the text and gives the root.
   *
   * @throws {ImageError} `dump-invalid` when the last line is not whole, the text is empty, or a link leads nowhere
   */
  end(): ComposefsNode {
    if (this.#restBytes > 0) {
      if (this.#rules.strict) {
        this.#line++
        throw this.#invalid(new NodeFault('EINVAL', 'it does not end with a newline'))
      }
      this.#take(this.#joined(Buffer.alloc(0)))
    }
    if (this.#root === null) {
      const cause = 'it has no lines, and there is at least that of the root'
      const facts = { line: 0, path: null, cause, errno: 'EINVAL' }
      throw new ImageError('dump-invalid', `Cannot read the dump: ${cause}`, { facts })
    }
    for (const link of this.#links.keys()) this.#resolve(link)
    return this.#root
  }

  #keep(part: Buffer): void {
    const length = this.#restBytes + part.length
    if (length > MAX_LINE_BYTES) {
      this.#line++
      throw this.#invalid(tooLong())
    }
    if (length > this.#rest.length) {
      const longer = Buffer.alloc(Math.max(length, 2 * this.#rest.length))
      longer.set(this.#rest.subarray(0, this.#restBytes))
      this.#rest = longer
    }
    this.#rest.set(part, this.#restBytes)
    this.#restBytes = length
  }

  /** What was kept of a line, with the part that ends it. */
  #joined(part: Buffer): Buffer {
    if (this.#restBytes === 0) return part
    this.#keep(part)
    const line = this.#rest.subarray(0, this.#restBytes)
    this.#restBytes = 0
    return line
  }

  #take(bytes: Uint8Array): void {
    this.#line++
    let path: ByteString | undefined
    try {
      if (bytes.length > MAX_LINE_BYTES) throw tooLong()
      const line = new DumpLine(bytes)
      const [directory, name] = pathOfLine(line)
      path = (name === '/' ? name : `${directory}/${name}`) as ByteString
      const entry = entryOfLine(line, this.#rules)
      if (name === '/') {
        this.#setRoot(entry.kind === 'link' ? null : entry)
        return
      }
      const parent = this.#parentAt(directory)
      checkName(name)
      if (parent.children.has(name)) throw new NodeFault('EEXIST', 'its path is that of an earlier line')
      parent.children.set(name, entry.kind === 'link' ? this.#open(entry.targetPath, path) : entry)
    } catch (fault) {
      if (!(fault instanceof NodeFault)) throw fault
      throw this.#invalid(fault, path)
    }
  }

  #setRoot(node: ComposefsNode | null): void {
    if (node?.kind !== 'directory') throw new NodeFault('ENOTDIR', 'the root is no directory')
    if (this.#root !== null) throw new NodeFault('EEXIST', 'it is a second root')
    this.#root = node as Directory
  }

  #open(targetPath: ByteString, path: ByteString): Link {
    // The root stands in until the target is known, and is itself no possible target.
    const link: Link = { kind: 'link', target: this.#root! }
    this.#links.set(link, { targetPath, path, line: this.#line })
    return link
  }

  #parentAt(path: ByteString): Directory {
    if (this.#root === null)
      throw new NodeFault('ENOENT', 'the line of the root, "/", does not stand before it')
    if (this.#lastParent?.path === path) return this.#lastParent.directory
    const entry = this.#lookUp(path)
    if (entry === undefined)
      throw new NodeFault('ENOENT', 'the line of its directory does not stand before it')
    if (entry.kind !== 'directory') throw new NodeFault('ENOTDIR', 'what it stands in is no directory')
    this.#lastParent = { path, directory: entry as Directory }
    return entry as Directory
  }

  #lookUp(path: ByteString): ComposefsEntry | undefined {
    let at: ComposefsEntry | undefined = this.#root!
    for (const name of path.split('/') as ByteString[]) {
      if (name === '') continue
      if (at?.kind !== 'directory') return undefined
      at = at.children!.get(name)
    }
    return at
  }

  /** Links to links lead where the last one does. */
  #resolve(first: Link): void {
    const chain: Link[] = []
    let open = this.#links.get(first)!
    let entry: ComposefsEntry = first
    while (entry.kind === 'link') {
      const next = this.#links.get(entry)
      if (next === undefined) {
        // Not among the open ones any more: resolved before, or in this chain.
        if (entry.target === this.#root)
          throw this.#badLink(open, 'ELOOP', 'it is a link that leads to itself')
        entry = entry.target
        break
      }
      open = next
      chain.push(entry)
      this.#links.delete(entry)
      const found = this.#lookUp(open.targetPath)
      if (found === undefined) {
        throw this.#badLink(open, 'ENOENT', `it is a link to "${shown(open.targetPath)}", which is not there`)
      }
      entry = found
    }
    if (entry.kind === 'directory') throw this.#badLink(open, 'EINVAL', 'it is a link to a directory')
    for (const link of chain) link.target = entry
  }

  #badLink(link: OpenLink, errno: NodeFault['errno'], cause: string): ImageError {
    this.#line = link.line
    return this.#invalid(new NodeFault(errno, cause), link.path)
  }

  #invalid(fault: NodeFault, path?: ByteString): ImageError {
    const cause = fault.message
    const entry = path === undefined ? '' : ` ("${shown(path)}")`
    return new ImageError('dump-invalid', `Cannot read line ${this.#line} of the dump${entry}: ${cause}`, {
      facts: { line: this.#line, path: path === undefined ? null : shown(path), cause, errno: fault.errno },
    })
  }
}

function tooLong(): NodeFault {
  return new NodeFault('ENAMETOOLONG', `it has more than ${MAX_LINE_BYTES} bytes`)
}
