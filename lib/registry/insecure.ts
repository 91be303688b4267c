/**
 * Registries that the caller allows to be talked to over http.
 */
import { UsageError } from '../errors.js'
import { isProblem, normalizeRegistry } from '../image/host.js'
import { quote } from '../image/json.js'

/**
 * @param texts `HOST[:PORT]` each
 * @returns the same in normal form
 * @throws {UsageError} `option-invalid`
 */
export function parseInsecureRegistries(texts: readonly string[]): string[] {
  return texts.map((text) => {
    const registry = normalizeRegistry(text)
    if (!isProblem(registry)) return registry
    throw new UsageError(
      'option-invalid',
      `Cannot use insecure registry ${quote(text)}: ${registry.problem}`,
      {
        facts: { option: 'insecureRegistries', value: text },
      },
    )
  })
}
