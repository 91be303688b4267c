/**
 * Says at the end of a run which tests were skipped; their titles hold the reasons.
 */
import type { Reporter, TestModule } from 'vitest/node'

export default class SkippedReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]): void {
    const skipped = modules.flatMap((module) =>
      [...module.children.allTests('skipped')].map(
        (test) => `  ${module.relativeModuleId}: ${test.fullName}`,
      ),
    )
    if (skipped.length > 0) console.log(`\nSkipped here:\n${skipped.join('\n')}\n`)
  }
}
