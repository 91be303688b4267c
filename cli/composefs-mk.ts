/**
 * groot composefs mk: makes an image of a directory or a dump, for people and programs that know mkcomposefs.
 */
import { type MakeComposefs, UsageError } from '../lib/index.js'
import type { OptionName } from './options.js'
import { jsonLine, quoted } from './text.js'
import { answer, type Verb, type VerbContext } from './verb.js'

export const mk: Verb = async (context) => {
  const { options, library } = context
  const image = checkForm(context)
  noteIdle(context)
  const made = await library.composefs.make(requestOf(context, image))
  if (options.json) {
    const { digest, hash, version, inodes, bytes, objects } = made
    return answer(`${jsonLine({ image: image ?? null, digest, hash, version, inodes, bytes, objects })}\n`)
  }
  return answer(options['print-digest'] || options['print-digest-only'] ? `${made.digest}\n` : '')
}

/** @returns where the image goes */
function checkForm({ options, operands, stdout }: VerbContext): string | undefined {
  const [source, image] = operands
  if (source === '' || image === '') throw wrong('a path is empty')
  if (options['skip-xattrs'] && options['user-xattrs']) {
    throw wrong('--skip-xattrs and --user-xattrs exclude each other')
  }
  if (options['print-digest-only']) {
    if (image === undefined) return undefined
    throw wrong(`--print-digest-only writes no image, and ${quoted(image)} is given for one`)
  }
  if (image === undefined) throw wrong('it needs IMAGE, or --print-digest-only')
  if (image !== '-') return image
  if (stdout.isTerminal) throw wrong('standard output is a terminal, and images are not text')
  if (options.json) throw wrong('the image and the answer in JSON cannot both go to standard output')
  return image
}

const OF_DIRECTORIES: readonly OptionName[] = [
  'digest-store',
  'use-epoch',
  'skip-devices',
  'skip-xattrs',
  'user-xattrs',
  'threads',
  'scan-like',
]

/** Accepted, because mkcomposefs accepts them, and told, because it does not. */
function noteIdle({ options, log }: VerbContext): void {
  if (!options['from-file']) return
  for (const option of OF_DIRECTORIES) {
    if (options[option] === undefined || options[option] === false) continue
    const message = `--${option} means nothing with --from-file`
    log.note('warn', { code: 'option-idle', message, facts: { option } })
  }
}

function requestOf(
  { options, operands, stdin, stdout, env, signal }: VerbContext,
  image?: string,
): MakeComposefs {
  const [source = ''] = operands
  const common = {
    signal,
    hash: options.hash ?? 'sha256',
    ...versions(options),
    ...(image === undefined ? {} : { image: image === '-' ? stdout : image }),
  }
  if (options['from-file']) {
    return { ...common, dump: source === '-' ? stdin() : source, strict: env.CFS_PARSE_STRICT !== undefined }
  }
  const { 'digest-store': digestStore, threads } = options
  return {
    ...common,
    directory: source,
    useEpoch: options['use-epoch'] ?? false,
    skipDevices: options['skip-devices'] ?? false,
    xattrs: options['skip-xattrs'] ? 'none' : options['user-xattrs'] ? 'user' : 'all',
    hardLinks: options['scan-like'] === undefined ? 'keep' : 'split',
    ...(digestStore === undefined ? {} : { digestStore }),
    ...(threads === undefined ? {} : { threads }),
  }
}

/** As mkcomposefs has it: one of the two given, the other is 0. */
function versions({ 'min-version': least, 'max-version': greatest }: VerbContext['options']) {
  if (least === undefined && greatest === undefined) return {}
  return { minVersion: versionOf(least), maxVersion: versionOf(greatest) }
}

function versionOf(text: '0' | '1' | undefined): 0 | 1 {
  return text === '1' ? 1 : 0
}

function wrong(cause: string): UsageError {
  return new UsageError('usage-invalid', `Cannot make an image: ${cause}`)
}
