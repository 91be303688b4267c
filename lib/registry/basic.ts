/**
 * The Authorization header of the Basic scheme (RFC 7617).
 */
import { UsageError } from '../errors.js'
import { quote } from '../image/json.js'
import type { PasswordCredentials } from './hosts.js'

/** @throws {UsageError} `option-invalid` for what the scheme cannot carry */
export function basicHeader({ username, password }: PasswordCredentials): string {
  if (username.includes(':') || /[\u0000-\u001f\u007f]/.test(username + password)) {
    throw new UsageError(
      'option-invalid',
      `Cannot use the user name ${quote(username)}: neither it nor the password may have control characters, it no colon`,
      { facts: { option: 'username' } },
    )
  }
  return `Basic ${Buffer.from(`${username}:${password}`, 'utf8').toString('base64')}`
}
