/**
 * groot check: reads the whole store and prints what is damaged, and with --repair what became of it.
 */
import { type CheckProblem, type CheckReport, EXIT_STATUS } from '../lib/index.js'
import { counted, humanBytes, jsonLine, visible } from './text.js'
import { answer, callOptions, type Verb, withExistingStore } from './verb.js'

const NOTHING: CheckReport = {
  objects: 0,
  layers: 0,
  images: 0,
  bases: 0,
  bundles: 0,
  bytes: 0,
  problems: [],
}

export const check: Verb = async (context) => {
  const options = { ...callOptions(context), repair: context.options.repair ?? false }
  const report = (await withExistingStore(context, (store) => store.check(options))) ?? NOTHING
  const { objects, layers, images, bases, bundles, bytes, problems } = report
  const text = context.options.json
    ? jsonLine({ objects, layers, images, bases, bundles, bytes, problems })
    : reportLines(report).join('\n')
  const isSound = problems.every(({ repaired }) => repaired)
  return answer(`${text}\n`, isSound ? 0 : EXIT_STATUS.integrity)
}

function reportLines({ objects, layers, images, bases, bundles, bytes, problems }: CheckReport): string[] {
  const counts = [
    counted(objects, 'object'),
    counted(layers, 'layer'),
    counted(images, 'image document'),
    counted(bases, 'base'),
    counted(bundles, 'bundle'),
  ]
  const mended = problems.filter(({ repaired }) => repaired).length
  const found = problems.length === 0 ? 'no problems' : `found ${counted(problems.length, 'problem')}`
  return [
    ...problems.map((problem) => visible(problemLine(problem))),
    `Checked ${counts.join(', ')}: read ${humanBytes(bytes)}, ${found}${mended === 0 ? '' : `, repaired ${mended}`}`,
  ]
}

function problemLine({ what, name, code, message, repaired, remedy }: CheckProblem): string {
  const outcome = remedy === undefined ? '' : `; ${repaired ? 'repaired' : 'not repaired'}: ${remedy}`
  return `${what} ${name}: ${code}: ${message}${outcome}`
}
