/**
 * groot check: reads the whole store and prints what is damaged.
 */
import { type CheckReport, EXIT_STATUS } from '../lib/index.js'
import { counted, humanBytes, jsonLine, visible } from './text.js'
import { answer, callOptions, type Verb, withExistingStore } from './verb.js'

const NOTHING: CheckReport = { objects: 0, layers: 0, images: 0, bundles: 0, bytes: 0, problems: [] }

export const check: Verb = async (context) => {
  const report = (await withExistingStore(context, (store) => store.check(callOptions(context)))) ?? NOTHING
  const { objects, layers, images, bundles, bytes, problems } = report
  const text = context.options.json
    ? jsonLine({ objects, layers, images, bundles, bytes, problems })
    : reportLines(report).join('\n')
  return answer(`${text}\n`, problems.length === 0 ? 0 : EXIT_STATUS.integrity)
}

function reportLines({ objects, layers, images, bundles, bytes, problems }: CheckReport): string[] {
  const counts = [
    counted(objects, 'object'),
    counted(layers, 'layer'),
    counted(images, 'image document'),
    counted(bundles, 'bundle'),
  ]
  return [
    ...problems.map(({ code, what, name, message }) => visible(`${what} ${name}: ${code}: ${message}`)),
    `Checked ${counts.join(', ')}: read ${humanBytes(bytes)}, ${problems.length === 0 ? 'no problems' : `found ${counted(problems.length, 'problem')}`}`,
  ]
}
