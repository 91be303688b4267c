/**
 * Looking things up in the option table.
 */
import {
  GLOBAL_OPTIONS,
  GROUPS,
  type GroupName,
  OPTIONS,
  type OptionName,
  type OptionSpec,
  VERBS,
  type VerbName,
  type VerbSpec,
} from './options.js'

export function optionSpec(name: OptionName): OptionSpec {
  return OPTIONS[name]
}

export function verbSpec(name: VerbName): VerbSpec {
  return VERBS[name]
}

export function isVerb(name: string): name is VerbName {
  return Object.hasOwn(VERBS, name)
}

export function isGroup(name: string): name is GroupName {
  return Object.hasOwn(GROUPS, name)
}

/** Verbs of a group, or those that are in none; in the order of the table. */
export function verbsOf(group: GroupName | null): VerbName[] {
  const verbs = Object.keys(VERBS) as VerbName[]
  return verbs.filter((verb) => (group === null ? !verb.includes(' ') : verb.startsWith(`${group} `)))
}

/** Whether a verb takes an option, its own or a global one. */
export function takes(verb: VerbName, option: OptionName): boolean {
  return verbSpec(verb).options.includes(option) || (GLOBAL_OPTIONS as readonly OptionName[]).includes(option)
}

/** `create [options] IMAGE ID` */
export function synopsis(verb: VerbName): string {
  const spec = verbSpec(verb)
  const names = spec.arguments.map((name, index) => {
    if (index < spec.arguments.length - 1) return name
    const last = spec.repeats ? `${name}…` : name
    return spec.optional ? `[${last}]` : last
  })
  return [verb, '[options]', ...names].join(' ')
}
