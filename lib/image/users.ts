/**
 * Users: what an image's `Config.User` means, looked up in the image's own passwd and group files.
 *
 * Pure: the caller hands in the bytes of the two files (at most 1 MiB of each is worth reading) or null when the image
 * has none. The host's users are never asked.
 */
import { byteString, fromBytes } from '../bytes.js'
import { ImageError } from '../errors.js'
import { quote } from './json.js'

export interface ResolvedUser {
  /** 0 to 2^32 - 2. */
  readonly uid: number
  readonly gid: number
  /** Supplementary groups, in the group file's order, each once. */
  readonly additionalGids: readonly number[]
}

/** What an image without a `Config.User` runs as, and everybody in a user namespace with a single id. */
export const ROOT_USER: ResolvedUser = { uid: 0, gid: 0, additionalGids: [] }

const MAX_ID = 2 ** 32 - 2 // 2^32 - 1 is (uid_t)-1, "no id" to every system call
const MAX_GROUPS = 65_536 // NGROUPS_MAX: setgroups(2) takes no more

interface Account {
  readonly uid: number
  readonly gid: number
}

/**
 * Resolves `user`, `uid`, `user:group`, `uid:gid`, `uid:group` or `user:gid` (image-spec, config.md, "User").
 *
 * Numbers are taken as they are, whether or not a file knows them; the group of a user without `:group` is the one in
 * passwd, 0 for a number that passwd does not know. Supplementary groups are those of a user given by name without a
 * group, and nobody else's (conversion.md, "Config.User"): a number says whose files a process may use, not which groups.
 *
 * @throws {ImageError} `user-unknown` for a name that the files do not have; `config-invalid` for a malformed field or an
 *   id out of range; `limit-exceeded` for a user in more than 65,536 groups
 */
export function resolveUser(
  userField: string | undefined,
  passwd: Uint8Array | null,
  group: Uint8Array | null,
): ResolvedUser {
  if (userField === undefined || userField === '') return ROOT_USER
  const { user, groupName } = splitField(userField)
  const number = parseNumber(user, userField)
  const account = findAccount(passwd, number ?? user)
  if (number === null && account === null) throw unknownUser(user, passwd === null)

  const uid = number ?? account!.uid // one of the two is there, see above
  const gid = groupName === null ? (account?.gid ?? 0) : resolveGroup(groupName, group, userField)
  const additionalGids = number === null && groupName === null ? groupsOf(user, group) : []
  return { uid, gid, additionalGids }
}

function splitField(userField: string): { user: string; groupName: string | null } {
  const [user, groupName, ...rest] = userField.split(':')
  // An empty user with a group is root to some tools: too much to grant for what looks like a slip.
  if (!user || rest.length > 0) {
    throw new ImageError(
      'config-invalid',
      `Cannot use ${quote(userField)} as the image's user: it needs the form user, uid, user:group or uid:gid`,
      { facts: { document: 'config', field: '$.config.User', user: userField } },
    )
  }
  return { user, groupName: groupName || null }
}

function resolveGroup(name: string, group: Uint8Array | null, userField: string): number {
  const number = parseNumber(name, userField)
  if (number !== null) return number
  const wanted: string = byteString(name)
  for (const [groupName, , gid] of records(group, 3)) {
    const id = idOf(gid)
    if (groupName === wanted && id !== null) return id
  }
  const found = group === null ? 'the image has no group file' : "the image's group file does not have it"
  throw new ImageError('user-unknown', `Cannot resolve the group ${quote(name)}: ${found}`, {
    facts: { group: name, file: '/etc/group', present: group !== null },
  })
}

/** All decimal digits: an id. Anything else is a name. */
function parseNumber(text: string, userField: string): number | null {
  if (!/^[0-9]+$/.test(text)) return null
  const id = Number(text)
  if (id <= MAX_ID) return id
  throw new ImageError(
    'config-invalid',
    `Cannot use ${quote(userField)} as the image's user: ids go from 0 to ${MAX_ID}`,
    {
      facts: { document: 'config', field: '$.config.User', user: userField, limit: MAX_ID },
    },
  )
}

// The first record wins, as getpwnam(3) has it.
function findAccount(passwd: Uint8Array | null, wanted: string | number): Account | null {
  const name = typeof wanted === 'string' ? byteString(wanted) : null
  for (const [accountName, , uidText, gidText] of records(passwd, 4)) {
    const uid = idOf(uidText)
    const gid = idOf(gidText)
    // A field that is missing is not 0: what looks like root's record has to say so.
    if (uid === null || gid === null) continue
    if (name === null ? uid === wanted : accountName === name) return { uid, gid }
  }
  return null
}

function groupsOf(user: string, group: Uint8Array | null): number[] {
  const wanted: string = byteString(user)
  const gids = new Set<number>()
  for (const [, , gidText, members = ''] of records(group, 4)) {
    const gid = idOf(gidText)
    if (gid !== null && members.split(',').includes(wanted)) gids.add(gid)
  }
  if (gids.size > MAX_GROUPS) {
    throw new ImageError(
      'limit-exceeded',
      `Cannot resolve the user ${quote(user)}: it is in ${gids.size} groups, the kernel takes ${MAX_GROUPS}`,
      { facts: { user, groups: gids.size, limit: MAX_GROUPS } },
    )
  }
  return [...gids]
}

function* records(file: Uint8Array | null, minFields: number): Generator<string[]> {
  if (file === null) return
  for (const line of fromBytes(file).split('\n')) {
    const fields = (line.endsWith('\r') ? line.slice(0, -1) : line).split(':')
    if (fields.length >= minFields) yield fields
  }
}

function idOf(text: string | undefined): number | null {
  if (text === undefined || !/^[0-9]+$/.test(text)) return null
  const id = Number(text)
  return id <= MAX_ID ? id : null
}

function unknownUser(user: string, missing: boolean): ImageError {
  const found = missing ? 'the image has no passwd file' : "the image's passwd file does not have it"
  return new ImageError('user-unknown', `Cannot resolve the user ${quote(user)}: ${found}`, {
    facts: { user, file: '/etc/passwd', present: !missing },
  })
}
