/**
 * Running bundles with runc, as root and as others, and whether this machine lets runc run anything at all.
 */
import { execFileSync } from 'node:child_process'
import { chmodSync, cpSync, mkdirSync, readFileSync, realpathSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { attempt, findTool, type RunOptions, type RunResult, scratchDirectory } from './tools.js'

export const IS_ROOT = process.geteuid?.() === 0

/** Runs a bundle to its end. `state` is a directory for runc's own files. */
export function runBundle(
  bundle: string,
  id: string,
  state: string,
  options: RunOptions = {},
): Promise<RunResult> {
  return attempt('runc', ['--root', state, 'run', '-b', bundle, `groot-test-${process.pid}-${id}`], options)
}

/** Runs the simplest container there is, without groot: what fails here says nothing of groot. */
export async function whyRuncFails(uid: number | undefined): Promise<string | null> {
  if (findTool('runc') === null || findTool('busybox') === null) return 'needs runc and busybox'
  using scratch = scratchDirectory()
  chmodSync(scratch.path, 0o711)
  const bundle = scratch.file('bundle')
  mkdirSync(join(bundle, 'rootfs/bin'), { recursive: true })
  mkdirSync(scratch.file('run'))
  cpSync(realpathSync(findTool('busybox')!), join(bundle, 'rootfs/bin/busybox'))
  if (uid !== undefined) execFileSync('chown', ['-R', `${uid}:${uid}`, bundle, scratch.file('run')])
  const options = {
    cwd: '/',
    env: { HOME: bundle, XDG_RUNTIME_DIR: scratch.file('run') },
    ...(uid === undefined ? {} : { uid }),
  }
  const rootless = IS_ROOT && uid === undefined ? [] : ['--rootless']
  const made = await attempt('runc', ['spec', '-b', bundle, ...rootless], options)
  if (made.status !== 0) return `needs a runc that works: ${made.stderr.trim()}`
  const path = join(bundle, 'config.json')
  const spec = JSON.parse(readFileSync(path, 'utf8')) as { process: Record<string, unknown> }
  Object.assign(spec.process, { terminal: false, args: ['/bin/busybox', 'true'] })
  writeFileSync(path, JSON.stringify(spec))
  const ran = await attempt(
    'runc',
    ['--root', scratch.file('run/runc'), 'run', '-b', bundle, `groot-probe-${process.pid}`],
    options,
  )
  if (ran.status !== 0) return `needs a machine where runc may run: ${ran.stderr.trim().slice(0, 300)}`
  if (uid === undefined) return null
  const node = await attempt(process.execPath, ['-e', ''], options).catch(() => null)
  return node?.status === 0 ? null : 'needs a Node that other users may run'
}
