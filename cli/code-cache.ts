/**
 * Code of the command that V8 compiled in an earlier run.
 *
 * V8 looks at each file as a whole and compiles each function when it is first called: for a short run that is more work than
 * what it does. A run that succeeds keeps the code that it had compiled, and the next ones of the same verb start from it.
 *
 * What is kept will be run, so it stands where nobody but this user can write: beside the program for root, who may not trust
 * a home, and in the user's cache for others. Where that cannot be, nothing is kept, and nobody is told.
 */
import { createHash } from 'node:crypto'
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { createRequire, Module } from 'node:module'
import { dirname, relative, resolve } from 'node:path'
import { Script } from 'node:vm'

const DIGEST_BYTES = 32
const WRITABLE_BY_OTHERS = 0o022
/** What imports is left to Node: a script has no way to. */
const NEEDS_NODE = /\/import-file-[\w-]{8}\.cjs$/
/** Stands for the slash in names of what is kept. */
const SLASH = '%'

interface Loaded {
  readonly script: Script
  readonly file: string
  readonly source: Buffer
}

/** Loads the command's files, each with the code that is kept of it. */
export class CodeCache {
  readonly #bundle: string
  readonly #require: NodeJS.Require
  /** All that is kept of this user's; null where nothing can be. */
  readonly #root: string | null
  /** What the command was called with that may be a verb. */
  readonly #verb: string
  /** What is kept for this verb by this Node. */
  readonly #directory: string
  readonly #isTrusted: boolean
  readonly #loaded: Loaded[] = []
  /** Whether all of it was kept. */
  #isKept = true

  /**
   * @param bundle the directory of the command's files
   * @param beside where code stands for root
   * @param argv the command line, without Node and the program
   */
  constructor(bundle: string, beside: string, argv: readonly string[]) {
    this.#bundle = bundle
    this.#require = createRequire(`${bundle}/`)
    this.#root = process.geteuid?.() === 0 ? beside : cacheOfUser()
    this.#verb = argv.find((word) => /^[a-z][a-z-]*$/.test(word)) ?? ''
    this.#directory = `${this.#root}/${process.version}/${this.#verb}`
    this.#isTrusted = this.#root !== null && isOwn(this.#root)
  }

  /** Loads a file; whoever requires or imports it otherwise gets the same module. @returns its exports */
  require(file: string): unknown {
    const { cache } = this.#require
    const known = cache[file]
    if (known !== undefined) return known.exports
    if (NEEDS_NODE.test(file)) return this.#require(file)
    const module = new Module(file)
    module.filename = file
    cache[file] = module
    try {
      this.#run(module, file)
      module.loaded = true
    } catch (error) {
      delete cache[file]
      throw error
    }
    return module.exports
  }

  /**
   * Keeps what this run compiled, when it loaded more than earlier ones: then it called more in the files that were kept, too.
   *
   * @param isVerb whether that word is one: others than verbs would fill the disk
   */
  keep(isVerb: (word: string) => boolean): void {
    if (this.#root === null || this.#isKept || !isVerb(this.#verb)) return
    try {
      mkdirSync(this.#directory, { recursive: true, mode: 0o700 })
      if (!isOwn(this.#root)) return
      this.#removeForeign()
      for (const loaded of this.#loaded) this.#keepOne(loaded)
    } catch {
      // The next run compiles again.
    }
  }

  #keepOne({ script, file, source }: Loaded): void {
    const data = script.createCachedData()
    const temporary = `${this.#pathOf(file)}.${process.pid}`
    try {
      writeFileSync(temporary, Buffer.concat([digestOf(source, data), data]), { mode: 0o600 })
      renameSync(temporary, this.#pathOf(file))
    } catch (error) {
      rmSync(temporary, { force: true })
      throw error
    }
  }

  /** Takes away what was kept of files that the program no longer has, and what was not written whole. */
  #removeForeign(): void {
    for (const name of readdirSync(this.#directory)) {
      const file = `${this.#bundle}/${name.replaceAll(SLASH, '/')}`
      if (!existsSync(file)) rmSync(`${this.#directory}/${name}`, { force: true })
    }
  }

  #run(module: NodeJS.Module, file: string): void {
    const run = this.#compile(file, readFileSync(file)).runInThisContext() as (...values: unknown[]) => void
    const require = (name: string) =>
      name.startsWith('.') ? this.require(resolve(dirname(file), name)) : this.#require(name)
    run.call(module.exports, module.exports, require, module, file, dirname(file))
  }

  #compile(filename: string, source: Buffer): Script {
    const cachedData = this.#isTrusted ? readCode(this.#pathOf(filename), source) : undefined
    const script = new Script(
      // ASCII, by .bundle.js
      `(function (exports, require, module, __filename, __dirname) { ${source.toString('latin1')}\n})`,
      {
        filename,
        ...(cachedData === undefined ? {} : { cachedData }),
      },
    )
    if (cachedData === undefined || script.cachedDataRejected === true) this.#isKept = false
    this.#loaded.push({ script, file: filename, source })
    return script
  }

  #pathOf(file: string): string {
    return `${this.#directory}/${relative(this.#bundle, file).replaceAll('/', SLASH)}`
  }
}

function cacheOfUser(): string | null {
  const { HOME = '', XDG_CACHE_HOME = '' } = process.env
  const cache = [XDG_CACHE_HOME, `${HOME}/.cache`].find((path) => path.startsWith('/'))
  return cache === undefined ? null : `${cache}/groot/compiled`
}

function isOwn(directory: string): boolean {
  const stat = lstatSync(directory, { throwIfNoEntry: false })
  if (stat === undefined || !stat.isDirectory()) return false
  return stat.uid === process.geteuid?.() && (stat.mode & WRITABLE_BY_OTHERS) === 0
}

/** V8 does not see whether data is damaged, and takes any source of the same length for the one that it is of. */
function readCode(path: string, source: Buffer): Buffer | undefined {
  let kept: Buffer
  try {
    kept = readFileSync(path)
  } catch {
    return undefined
  }
  const data = kept.subarray(DIGEST_BYTES)
  return digestOf(source, data).equals(kept.subarray(0, DIGEST_BYTES)) ? data : undefined
}

function digestOf(source: Buffer, data: Buffer): Buffer {
  const compiler = `${process.version} ${process.arch} ${source.length}\n`
  return createHash('sha256').update(compiler).update(source).update(data).digest()
}
