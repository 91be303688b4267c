/**
 * groot composefs info, ls, dump, objects, missing-objects and measure: show what images are and hold, in the forms that
 * composefs-info has.
 */
import {
  type ComposefsInput,
  type ImageInfo,
  type ImageListing,
  type ListedEntry,
  UsageError,
} from '../lib/index.js'
import { counted, humanBytes, inPieces, jsonLine, visible } from './text.js'
import { answer, type Verb, type VerbContext } from './verb.js'

export const info: Verb = async (context) => {
  const { options, library, signal } = context
  const infos = await library.composefs.info({
    images: inputs(context),
    hash: options.hash ?? 'sha256',
    signal,
  })
  if (options.json) return answer(`${jsonLine(infos)}\n`)
  return answer(infos.map(infoText).join('\n'))
}

export const ls: Verb = async (context) => {
  const listings = await context.library.composefs.list(imagesOf(context))
  if (context.options.json) return answer(inPieces(jsonOf(listings, ({ entries }) => entries())))
  return answer(inPieces(linesOf(listings)))
}

export const dump: Verb = async (context) => {
  const dumps = await context.library.composefs.dump(imagesOf(context))
  if (!context.options.json) return answer(joined(dumps.map((each) => each.text())))
  return answer(inPieces(jsonOf(dumps, ({ text }) => fieldsOf(text()))))
}

export const objects: Verb = async (context) => {
  return listAnswer(context, await context.library.composefs.objects(imagesOf(context)))
}

export const missingObjects: Verb = async (context) => {
  const { basedir } = context.options
  if (basedir === undefined) {
    const message = 'Cannot look for objects: it needs --basedir, the directory that they would be in'
    throw new UsageError('usage-invalid', message, { facts: { option: 'basedir' } })
  }
  const request = { ...imagesOf(context), basedir }
  return listAnswer(context, await context.library.composefs.missingObjects(request))
}

export const measure: Verb = async (context) => {
  const { options, library, signal } = context
  const files = inputs(context)
  const measured = await library.composefs.measure({ files, hash: options.hash ?? 'sha256', signal })
  if (options.json) return answer(`${jsonLine(measured)}\n`)
  return answer(measured.map(({ digest }) => `${digest}\n`).join(''))
}

function imagesOf(context: VerbContext) {
  const { options, signal } = context
  return { images: inputs(context), filter: options.filter ?? [], signal }
}

/** A dash is standard input, which can be read once. */
function inputs({ operands, stdin }: VerbContext): ComposefsInput[] {
  if (operands.filter((operand) => operand === '-').length > 1) {
    throw new UsageError('usage-invalid', 'Cannot read standard input twice: "-" is given more than once')
  }
  return operands.map((operand) => (operand === '-' ? stdin() : operand))
}

function listAnswer({ options }: VerbContext, list: readonly string[]) {
  if (options.json) return answer(inPieces(jsonArray(list, '\n')))
  return answer(inPieces(list.map((each) => `${each}\n`)))
}

function* linesOf(listings: readonly ImageListing[]): Generator<string, void, undefined> {
  for (const { entries } of listings) for (const entry of entries()) yield lineOf(entry)
}

function lineOf({ path, kind, target, object, linkTo }: ListedEntry): string {
  const isDirectory = kind === 'directory' && linkTo === null
  const after = target !== null ? `\t-> ${target}` : object !== null ? `\t@ ${object}` : ''
  return `${path}${isDirectory ? '/\t' : after}\n`
}

/** Images and their entries as one line of JSON, bit by bit: one text could be longer than texts can be. */
function* jsonOf<T extends { readonly image: string | null }>(
  images: readonly T[],
  entriesOf: (image: T) => Iterable<unknown>,
): Generator<string, void, undefined> {
  let before = '['
  for (const each of images) {
    yield `${before}{"image":${jsonLine(each.image)},"entries":`
    yield* jsonArray(entriesOf(each), '}')
    before = ','
  }
  yield images.length === 0 ? '[]\n' : ']\n'
}

function* jsonArray(values: Iterable<unknown>, after: string): Generator<string, void, undefined> {
  let before = '['
  for (const value of values) {
    yield `${before}${jsonLine(value)}`
    before = ','
  }
  yield `${before === '[' ? '[' : ''}]${after}`
}

function* joined(texts: readonly Iterable<string>[]): Generator<string, void, undefined> {
  for (const text of texts) yield* text
}

/** The lines of a dump as objects; names, values and contents stay escaped. */
function* fieldsOf(text: Iterable<string>): Generator<Record<string, unknown>, void, undefined> {
  for (const piece of text) {
    for (const line of piece.split('\n')) if (line !== '') yield entryOf(line)
  }
}

function entryOf(line: string): Record<string, unknown> {
  const [path, size, mode = '', nlink, uid, gid, rdev, mtime, payload, content, digest, ...xattrs] =
    line.split(' ')
  const isLink = mode.startsWith('@')
  const given = (field: string | undefined) => (field === undefined || field === '-' ? null : field)
  return {
    path,
    // Numbers of JSON are exact to 2^53 only; these have 64 bits.
    size,
    mode: mode.replace('@', ''),
    nlink: Number(nlink),
    uid: Number(uid),
    gid: Number(gid),
    rdev: Number(rdev),
    mtime,
    linkTo: isLink ? given(payload) : null,
    payload: isLink ? null : given(payload),
    content: given(content),
    digest: given(digest),
    xattrs: Object.fromEntries(xattrs.map((each) => each.split('=', 2))),
  }
}

function infoText(info: ImageInfo): string {
  const {
    image,
    digest,
    hash,
    version,
    acl,
    bytes,
    inodes,
    entries,
    objects,
    objectBytes,
    inlineFiles,
    verity,
  } = info
  const { links, ...kinds } = entries
  const words: Record<keyof typeof kinds, [string, string?]> = {
    file: ['file'],
    directory: ['directory', 'directories'],
    symlink: ['symlink'],
    char: ['character device'],
    block: ['block device'],
    fifo: ['FIFO'],
    socket: ['socket'],
  }
  const holds = (Object.keys(words) as (keyof typeof kinds)[])
    .filter((kind) => kinds[kind] > 0)
    .map((kind) => counted(kinds[kind], ...(words[kind] as [string])))
  if (links > 0) holds.push(counted(links, 'further name'))
  const checked = verity === 'none' ? 'not all with a digest' : `all with a digest by ${verity}`
  return [
    visible(image ?? 'standard input'),
    `  digest   ${digest} (fs-verity, ${hash})`,
    `  version  ${version}${acl ? ', with ACLs' : ''}`,
    `  size     ${bytes} bytes, ${counted(inodes, 'inode')}`,
    `  holds    ${holds.join(', ')}`,
    `  objects  ${objects === 0 ? 'none' : `${objects}, ${humanBytes(objectBytes)}, ${checked}`}`,
    `  inline   ${counted(inlineFiles, 'file')}`,
    '',
  ].join('\n')
}
