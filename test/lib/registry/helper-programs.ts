/**
 * Credential helpers for tests: small programs `docker-credential-NAME` in a directory that stands first in PATH.
 */
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'

export interface HelperPrograms extends Disposable {
  /** Makes a helper of a shell script; `$1` is what is asked, standard input what for. */
  add(name: string, script: string): void
  /** A helper that keeps what it is given in a directory, and writes down how it was called. */
  addKeeper(name: string): void
  /** How a keeper was called: arguments and standard input, one line each. */
  calls(name: string): string[]
}

/** @param directory made here, the caller removes it */
export function helperPrograms(directory: string): HelperPrograms {
  mkdirSync(directory, { recursive: true })
  const before = process.env.PATH
  process.env.PATH = `${directory}:${before}`
  const add = (name: string, script: string) => {
    const path = `${directory}/docker-credential-${name}`
    writeFileSync(path, `#!/bin/sh\n${script}\n`)
    chmodSync(path, 0o755)
  }
  return {
    add,
    addKeeper(name) {
      add(
        name,
        `input="$(cat)"
        echo "$* $input" >> ${directory}/${name}.calls
        case "$1" in
        store) printf '%s' "$input" > ${directory}/${name}.kept ;;
        erase) rm -f ${directory}/${name}.kept ;;
        get) if grep -qF "\\"ServerURL\\":\\"$input\\"" ${directory}/${name}.kept 2>/dev/null; then
          cat ${directory}/${name}.kept
        else echo "credentials not found in native keychain"; exit 1; fi ;;
        esac`,
      )
    },
    calls(name) {
      try {
        return readFileSync(`${directory}/${name}.calls`, 'utf8').trim().split('\n')
      } catch {
        return []
      }
    },
    [Symbol.dispose]() {
      if (before === undefined) delete process.env.PATH
      else process.env.PATH = before
    },
  }
}
