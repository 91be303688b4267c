/**
 * groot composefs mount: mounts an image by the options of mount.composefs.
 */
import { type MountImage, UnsupportedError, UsageError } from '../lib/index.js'
import { quoted } from './text.js'
import { answer, type Verb } from './verb.js'

export const mount: Verb = async ({ options, operands, library, signal }) => {
  const [image = '', target = ''] = operands
  await library.composefs.mount({ ...readMountOptions(options.options ?? ''), image, target, signal })
  return answer('')
}

type MountOptions = Omit<MountImage, 'image' | 'target' | 'signal'>

/**
 * Reads `key=value,flag,…`. A backslash takes the meaning of a comma behind it away, and its own. Of a key given twice the
 * last one counts.
 *
 * @throws {UsageError} `option-invalid`
 * @throws {UnsupportedError} `system-unsupported` for what mount.composefs has and groot has not
 */
export function readMountOptions(text: string): MountOptions {
  const given = new Map<string, string | null>()
  for (const part of partsOf(text)) {
    const equals = part.indexOf('=')
    const key = equals < 0 ? part : part.slice(0, equals)
    checkKey(key, equals >= 0)
    given.set(key, equals < 0 ? null : unescaped(part.slice(equals + 1)))
    if (key === 'rw') given.delete('ro')
  }
  const { upperdir, workdir, digest, basedir } = Object.fromEntries(given)
  return {
    objects: objectsOf(basedir),
    readOnly: given.has('ro'),
    verity: verityOf(given),
    ...(upperdir == null ? {} : { upper: upperdir }),
    ...(workdir == null ? {} : { work: workdir }),
    ...(digest == null ? {} : { digest }),
  }
}

const VALUES = new Set(['basedir', 'upperdir', 'workdir', 'digest'])
const FLAGS = new Set(['ro', 'rw', 'verity', 'tryverity', 'noverity'])

function checkKey(key: string, hasValue: boolean): void {
  if (key === 'idmap') {
    throw new UnsupportedError(
      'system-unsupported',
      'Cannot mount with "idmap": groot maps no ids when it mounts',
      {
        facts: { option: key },
      },
    )
  }
  if (VALUES.has(key)) {
    if (!hasValue) throw wrong(key, `it needs a value, as ${key}=…`)
  } else if (!FLAGS.has(key)) {
    throw wrong(key, `it needs one of ${[...VALUES, ...FLAGS].join(', ')}`)
  } else if (hasValue) {
    throw wrong(key, 'it takes no value')
  }
}

function verityOf(given: ReadonlyMap<string, unknown>): 'require' | 'off' {
  if (!given.has('verity')) return 'off'
  if (given.has('noverity')) throw wrong('noverity', 'it excludes "verity"')
  return 'require'
}

function objectsOf(basedir: string | null | undefined): string[] {
  const directories = basedir?.split(':') ?? []
  if (directories.length === 0 || directories.includes('')) {
    throw wrong('basedir', 'it needs the directories of objects, as basedir=DIR:DIR')
  }
  return directories
}

/** At commas that no backslash stands before. */
function partsOf(text: string): string[] {
  return text === ''
    ? []
    : (text.match(/(?:^|,)(?:[^\\,]|\\[\s\S]?)*/g) ?? []).map((part) => part.replace(/^,/, ''))
}

function unescaped(value: string): string {
  return value.replace(/\\([\s\S]?)/g, '$1')
}

function wrong(key: string, cause: string): UsageError {
  return new UsageError('option-invalid', `Cannot use the mount option ${quoted(key)}: ${cause}`, {
    facts: { option: 'options', value: key },
  })
}
