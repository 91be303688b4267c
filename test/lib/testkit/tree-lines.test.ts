import { linkSync, mkdirSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { byteString } from '../../../lib/bytes.js'
import { pathString } from '../../../lib/linux/c-string.js'
import { close, openDirectory, setTimesAt } from '../../../lib/linux/files.js'
import { setXattrAt } from '../../../lib/linux/xattr.js'
import { treeLines } from '../../../lib/testkit/tree-lines.js'
import { useScratch } from '../linux/scratch.js'

const scratch = useScratch()

describe('treeLines', () => {
  it('describes each entry on a line of words', () => {
    mkdirSync(`${scratch.path}/a b`, { mode: 0o750 })
    writeFileSync(`${scratch.path}/a b/f`, 'hello', { mode: 0o640 })
    linkSync(`${scratch.path}/a b/f`, `${scratch.path}/g`)
    symlinkSync('a b/f', `${scratch.path}/l`)
    const directory = openDirectory(pathString(scratch.path))
    setXattrAt(directory, byteString('g'), byteString('user.x y'), byteString('1 2'))
    setTimesAt(directory, byteString('g'), 5n, 7)
    setTimesAt(directory, byteString('l'), -1n, 8)
    close(directory)
    utimesSync(`${scratch.path}/a b`, 1, 2)
    utimesSync(scratch.path, 3, 4)
    const owner = `${process.geteuid!()}:${process.getegid!()}`
    expect(treeLines(scratch.path)).toEqual([
      `. directory 0700 ${owner} - 4.000000000 - - - - -`,
      `a\\x20b directory 0750 ${owner} - 2.000000000 - - - - -`,
      `a\\x20b/f file 0640 ${owner} 5 5.000000007 - - - user.x\\x20y=1\\x202 2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824`,
      `g file 0640 ${owner} 5 5.000000007 - - a\\x20b/f user.x\\x20y=1\\x202 -`,
      `l symlink 0777 ${owner} - -1.000000008 - a\\x20b/f - - -`,
    ])
  })
})
