import { describe, expect, it } from 'vitest'
import type { OptionName } from '../../cli/options.js'
import { readValue } from '../../cli/values.js'

describe('values of options', () => {
  it.each([
    ['lock-timeout', '90s', 90_000],
    ['lock-timeout', '2m', 120_000],
    ['lock-timeout', '500ms', 500],
    ['lock-timeout', '1h', 3_600_000],
    ['lock-timeout', '7', 7000],
    ['lock-timeout', '1.5', 1500],
    ['lock-timeout', '0.25ms', 0],
    ['lock-timeout', '0', 0],
    ['lock-timeout', '2147483.647', 2_147_483_647],
    ['max-file-bytes', '0', 0],
    ['max-file-bytes', '512', 512],
    ['max-file-bytes', '3KiB', 3072],
    ['max-total-bytes', '2MiB', 2_097_152],
    ['max-total-bytes', '20GiB', 21_474_836_480],
    ['max-total-bytes', '1TiB', 1_099_511_627_776],
    ['max-total-bytes', '9007199254740991', Number.MAX_SAFE_INTEGER],
    ['older-than', '30d', 2_592_000_000],
    ['older-than', '4w', 2_419_200_000],
    ['older-than', '1.5h', 5_400_000],
    ['older-than', '0', 0],
    ['log-level', 'debug', 'debug'],
    ['store', '-', '-'],
  ] as [OptionName, string, string | number][])('--%s %s is %j', (name, text, value) => {
    expect(readValue(name, text)).toBe(value)
  })

  it.each([
    ['lock-timeout', '', 'it needs TIME'],
    ['lock-timeout', '-1', 'it needs a time as 500ms, 90s, 2m or a number of seconds'],
    ['lock-timeout', '1d', 'it needs a time as 500ms, 90s, 2m or a number of seconds'],
    ['lock-timeout', '1 s', 'it needs a time as 500ms, 90s, 2m or a number of seconds'],
    ['lock-timeout', '1e3', 'it needs a time as 500ms, 90s, 2m or a number of seconds'],
    ['lock-timeout', 'Infinity', 'it needs a time as 500ms, 90s, 2m or a number of seconds'],
    ['lock-timeout', '٣', 'it needs a time as 500ms, 90s, 2m or a number of seconds'],
    ['lock-timeout', '2147484', 'it can be 24 days at most'],
    ['max-file-bytes', '1.5GiB', 'it needs a number of bytes, or one with KiB, MiB, GiB or TiB'],
    ['max-file-bytes', '1G', 'it needs a number of bytes, or one with KiB, MiB, GiB or TiB'],
    ['max-file-bytes', '-1', 'it needs a number of bytes, or one with KiB, MiB, GiB or TiB'],
    ['max-file-bytes', '0x10', 'it needs a number of bytes, or one with KiB, MiB, GiB or TiB'],
    ['max-file-bytes', '9007199254740992', 'it is too large'],
    ['max-file-bytes', '9999999999999999TiB', 'it is too large'],
    ['older-than', '1y', 'it needs a time as 90m, 12h, 30d, 4w or a number of seconds'],
    ['older-than', '-1d', 'it needs a time as 90m, 12h, 30d, 4w or a number of seconds'],
    ['older-than', '9999999999w', 'it needs a time as 90m, 12h, 30d, 4w or a number of seconds'],
    ['log-format', 'yaml', 'it needs one of text, json'],
    ['store', '', 'it needs DIR'],
  ] as [OptionName, string, string][])('--%s %j is refused: %s', (name, text, why) => {
    expect(() => readValue(name, text)).toThrow(
      expect.objectContaining({
        code: 'option-invalid',
        message: `Cannot use "${text}" for --${name}: ${why}`,
        facts: { option: name, value: text },
      }),
    )
  })
})
