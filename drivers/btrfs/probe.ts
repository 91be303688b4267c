/**
 * Finding out what a place can do, by doing it: subvolumes are made, a snapshot taken, and all of it removed.
 */
import { closeSync, constants, openSync, readFileSync, writeFileSync } from 'node:fs'
import {
  byteString,
  createSnapshot,
  createSubvolume,
  isBtrfs,
  isErrno,
  makeProbeDirectory,
  type Probe,
  type ProbePlace,
  quotaState,
  setSubvolumeReadOnly,
} from '../../lib/driver/kit.js'

/** Leaves nothing behind. */
export async function findOut({ directory }: ProbePlace): Promise<Probe> {
  const place = openSync(directory, constants.O_RDONLY | constants.O_DIRECTORY)
  try {
    if (!isBtrfs(place)) return refused('the filesystem', 'another one', 'btrfs')
    const failure = await attempt(directory)
    if (failure !== null) return refused('making subvolumes', failure, 'subvolumes that can be made')
    const notes = ['every image is a read-only subvolume, every bundle a snapshot of one', quotaNote(place)]
    return { usable: true, notes }
  } finally {
    closeSync(place)
  }
}

function refused(feature: string, found: string, needed: string): Probe {
  return { usable: false, feature, found, needed }
}

/** @returns null when it works */
async function attempt(place: string): Promise<string | null> {
  using probe = makeProbeDirectory(place)
  try {
    return await use(probe.path)
  } catch (error) {
    if (isErrno(error)) return error.message
    throw error
  }
}

/** What bases and bundles do. */
async function use(path: string): Promise<string | null> {
  const flags = constants.O_RDONLY | constants.O_DIRECTORY
  const directory = openSync(path, flags)
  try {
    createSubvolume(directory, byteString('base'))
    writeFileSync(`${path}/base/file`, 'content')
    const base = openSync(`${path}/base`, flags)
    try {
      setSubvolumeReadOnly(base, true)
      await createSnapshot(directory, byteString('rootfs'), base, { readOnly: false, groups: null })
    } finally {
      closeSync(base)
    }
    writeFileSync(`${path}/rootfs/file`, 'changed')
    return readFileSync(`${path}/base/file`, 'utf8') === 'content'
      ? null
      : 'a base that changes with its snapshot'
  } finally {
    closeSync(directory)
  }
}

function quotaNote(place: number): string {
  try {
    const state = quotaState(place)
    if (state.mode === 'off')
      return 'quotas: off; the first disk limit enables simple quotas (Linux 6.7 or newer mounts it from then on)'
    if (!state.isConsistent) return 'quotas: full and inconsistent; disk limits are refused'
    return state.mode === 'simple' ? 'quotas: simple' : 'quotas: full, which makes creates slow'
  } catch (error) {
    if (isErrno(error, 'EPERM', 'ENOTTY'))
      return 'quotas: only root may use them, so there are no disk limits'
    throw error
  }
}
