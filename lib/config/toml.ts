/**
 * TOML texts to Values. The parser is smol-toml; here are its limits, and its complaints in groot's words.
 */
import { parse, TomlError } from 'smol-toml'
import { invalidConfiguration, MAX_CONFIG_BYTES, type Value } from './value.js'

const MAX_DEPTH = 32

/**
 * @param file for messages
 * @throws {UsageError} `configuration-invalid`, with line and column
 */
export function parseToml(text: string, file: string): Value {
  if (text.length > MAX_CONFIG_BYTES) {
    throw invalidConfiguration(file, '', `has more than ${MAX_CONFIG_BYTES} characters`)
  }
  try {
    return { file, key: '', found: parse(text, { maxDepth: MAX_DEPTH, integersAsBigInt: 'asNeeded' }) }
  } catch (error) {
    // The parser's own message quotes the file, which may hold secrets.
    const where = error instanceof TomlError ? ` at line ${error.line}, column ${error.column}` : ''
    throw invalidConfiguration(file, '', `is not TOML${where}`)
  }
}
