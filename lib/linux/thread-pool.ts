/**
 * Calls of C functions on Node's thread pool, by koffi.
 */

/** Typed arrays up to this size may lie where the garbage collector moves things: no other thread may read them. */
export const MOVABLE_BYTES = 64

/** A function of koffi's that can be called on another thread. */
export interface PoolFunction<Arguments extends readonly unknown[]> {
  async(...values: [...Arguments, done: (error: unknown, result: number) => void]): void
}

/**
 * Memory that is given has to stay as it is until the result is there.
 *
 * @param read makes something of the result before anything else is called here, as errno is that of the last call
 */
export function callOnPool<Arguments extends readonly unknown[]>(
  call: PoolFunction<Arguments>,
  values: Arguments,
  read: (result: number) => number = (result) => result,
): Promise<number> {
  return new Promise((resolve, reject) => {
    call.async(...values, (error, result) => {
      if (error === null || error === undefined) resolve(read(result))
      else reject(error as Error)
    })
  })
}
