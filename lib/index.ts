/**
 * What an orchestrator imports. Everything else is inside.
 *
 * No console output, no process exit, no global state.
 */
export * from './errors.js'
export type { EventSink, GrootEvent } from './events.js'
export type * from './operations/api.js'
