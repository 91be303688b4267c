/**
 * A root filesystem with newer programs, made usable for chroot(1): what programs need of the machine, and the places that the
 * benchmark works in, are mounted in it under their own paths, and taken away again.
 */
import { execFileSync } from 'node:child_process'
import { mkdirSync, rmdirSync } from 'node:fs'
import { dirname } from 'node:path'
import { Undo, unmountBelow } from './filesystem.js'

const OF_THE_MACHINE = ['/proc', '/sys', '/dev']

/**
 * Makes a place for sockets and states: a tmpfs, in the machine's own root filesystem or that of a chroot.
 *
 * @param path without the root filesystem
 */
export function makeRunPlace(root: string | null, path: string): Disposable {
  const undo = new Undo()
  const target = `${root ?? ''}${path}`
  try {
    makeDirectory(target, undo)
    call('mount', '-t', 'tmpfs', 'tmpfs', target)
    undo.defer(() => call('umount', '--lazy', target))
    undo.defer(() => unmountBelow(target))
    return undo
  } catch (error) {
    undo[Symbol.dispose]()
    throw error
  }
}

/** @param place the filesystem that the benchmark measures */
export function prepareChroot(root: string, place: string): Disposable {
  const undo = new Undo()
  try {
    for (const path of OF_THE_MACHINE) {
      const target = `${root}${path}`
      makeDirectory(target, undo)
      call('mount', '--rbind', path, target)
      undo.defer(() => call('umount', '--lazy', '--recursive', target))
      call('mount', '--make-rslave', target)
    }
    const inside = `${root}${place}`
    makeDirectory(inside, undo)
    call('mount', '--bind', place, inside)
    undo.defer(() => call('umount', '--lazy', inside))
    undo.defer(() => unmountBelow(inside))
    return undo
  } catch (error) {
    undo[Symbol.dispose]()
    throw error
  }
}

/** Those of its directories that it makes go again. */
function makeDirectory(path: string, undo: Undo): void {
  const first = mkdirSync(path, { recursive: true })
  if (first === undefined) return
  undo.defer(() => {
    for (let at = path; at.length >= first.length; at = dirname(at)) rmdirSync(at)
  })
}

function call(command: string, ...args: string[]): void {
  execFileSync(command, args, { stdio: ['ignore', 'ignore', 'inherit'] })
}
