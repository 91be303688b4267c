/**
 * groot mount and groot unmount: each bundle for itself, so that one that fails does not keep the others.
 */
import { type GrootStore, isGrootError, throwIfAborted, UsageError } from '../lib/index.js'
import {
  answer,
  bundleMissing,
  callOptions,
  checkId,
  type Verb,
  type VerbContext,
  withExistingStore,
} from './verb.js'

export const mount: Verb = (context) => forEach(context, 'mount')

export const unmount: Verb = (context) => forEach(context, 'unmount')

async function forEach(context: VerbContext, verb: 'mount' | 'unmount') {
  const { options, operands } = context
  const given = new Set(operands)
  for (const id of given) checkId(id)
  if (operands.length > 0 === (options.all ?? false)) {
    const found = operands.length > 0 ? 'both were given' : 'neither was given'
    throw new UsageError('usage-invalid', `Cannot ${verb}: ids or --all are needed, ${found}`, {
      facts: { option: 'all' },
    })
  }
  let exitStatus = 0
  const fail = (error: unknown): void => {
    const status = context.report(error)
    exitStatus ||= status
  }
  if (verb === 'mount') await mountFilesystem(context)
  const found = await withExistingStore(context, async (store) => {
    const ids = options.all ? await allIds(store, context) : given
    for (const id of ids) {
      throwIfAborted(context.signal)
      try {
        const { changed } = await store[verb](id, callOptions(context))
        const message = changed
          ? `The rootfs of "${id}" is ${verb}ed`
          : `There was nothing to ${verb} for "${id}"`
        context.log.note('info', { code: `${verb}ed`, message, facts: { id, changed } })
      } catch (error) {
        // One that was deleted since they were listed is none of all.
        if (options.all && isGrootError(error) && error.code === 'bundle-missing') continue
        fail(error)
      }
    }
    return ids
  })
  // Where there is no store there is no bundle; a name that was given has to be one.
  if (found === null) for (const id of given) fail(bundleMissing(verb, id))
  return answer('', exitStatus)
}

/** A store in a file is not there before that is mounted. */
async function mountFilesystem({ library, settings, log }: VerbContext): Promise<void> {
  const { path, changed } = await library.mountStore({ path: settings.store })
  if (!changed) return
  log.note('info', { code: 'store-mounted', message: `The store "${path}" is mounted`, facts: { path } })
}

/** Bundles whose mounts their runtimes make have nothing to mount here. */
async function allIds(store: GrootStore, context: VerbContext): Promise<string[]> {
  const bundles = await store.list(callOptions(context))
  return bundles.filter(({ mounts }) => mounts.length === 0).map(({ id }) => id)
}
