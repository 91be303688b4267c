import { mkdirSync, readFileSync, renameSync, rmSync, unlinkSync, utimesSync, writeFileSync } from 'node:fs'
import { beforeEach, describe, expect, it } from 'vitest'
import { runAtOnce } from '../../../lib/linux/slices.js'
import { DirectoryWatch, RecordWatch } from '../../../lib/store/record-watch.js'
import { useScratch } from '../linux/scratch.js'

const scratch = useScratch()
let directory: string
let reads: string[]
let watch: RecordWatch<string>
beforeEach(() => {
  directory = `${scratch.path}/records`
  mkdirSync(directory)
  reads = []
  watch = new RecordWatch(
    directory,
    (name) => name.endsWith('.json'),
    (name) => {
      reads.push(name)
      const text = readFileSync(`${directory}/${name}`, 'utf8')
      if (text === 'damaged') throw new Error('it is damaged')
      return text
    },
  )
})

const put = (name: string, text: string) => {
  writeFileSync(`${directory}/.tmp`, text)
  renameSync(`${directory}/.tmp`, `${directory}/${name}`)
}
const seen = () => Object.fromEntries([...watch.refresh()].map(([name, entry]) => [name, entry.seen]))
const LONG_AGO = new Date('2020-01-01')
const value = (text: string) => ({ kind: 'read', value: text })

describe('a watched directory of records', () => {
  it('shows what is there at each look, and only what is a record', () => {
    put('a.json', '1')
    put('other', 'x')
    expect(seen()).toEqual({ 'a.json': value('1') })
    put('b.json', '2')
    expect(seen()).toEqual({ 'a.json': value('1'), 'b.json': value('2') })
    put('a.json', '3')
    unlinkSync(`${directory}/b.json`)
    expect(seen()).toEqual({ 'a.json': value('3') })
    rmSync(directory, { recursive: true })
    expect(seen()).toEqual({})
  })

  it('notices a record that is replaced within the same moment, by one of the same size', () => {
    for (let i = 0; i < 200; i++) {
      put('a.json', String(i % 10))
      expect(seen()).toEqual({ 'a.json': value(String(i % 10)) })
    }
  })

  it('tells of damaged records, and of their replacement', () => {
    put('a.json', 'damaged')
    expect(seen()).toEqual({ 'a.json': { kind: 'damaged', error: new Error('it is damaged') } })
    put('a.json', 'whole')
    expect(seen()).toEqual({ 'a.json': value('whole') })
  })

  it('is primed once, and shows what changed since', () => {
    for (const name of ['a.json', 'b.json']) {
      put(name, name)
    }
    runAtOnce(watch.prime())
    expect(reads.sort()).toEqual(['a.json', 'b.json'])
    put('a.json', 'other')
    expect(seen()).toEqual({ 'a.json': value('other'), 'b.json': value('b.json') })
  })

  it('reads nothing again of a directory that has not changed for a while', () => {
    put('a.json', '1')
    utimesSync(directory, LONG_AGO, LONG_AGO)
    seen()
    reads = []
    expect(seen()).toEqual({ 'a.json': value('1') })
    expect(reads).toEqual([])
    put('b.json', '2')
    expect(Object.keys(seen())).toEqual(['a.json', 'b.json'])
  })
})

describe('a directory', () => {
  it('may have changed at the first look, after each change, and for a moment after that', () => {
    utimesSync(directory, LONG_AGO, LONG_AGO)
    const directoryWatch = new DirectoryWatch(directory)
    expect([directoryWatch.mayHaveChanged(), directoryWatch.mayHaveChanged()]).toEqual([true, false])
    put('a.json', '1')
    // Its time is too young to tell whether something else changed in the same moment.
    expect([directoryWatch.mayHaveChanged(), directoryWatch.mayHaveChanged()]).toEqual([true, true])
    utimesSync(directory, LONG_AGO, new Date('2020-01-02'))
    expect([directoryWatch.mayHaveChanged(), directoryWatch.mayHaveChanged()]).toEqual([true, false])
  })

  it('with a time to come may always have changed', () => {
    utimesSync(directory, LONG_AGO, new Date('2100-01-01'))
    const directoryWatch = new DirectoryWatch(directory)
    expect([directoryWatch.mayHaveChanged(), directoryWatch.mayHaveChanged()]).toEqual([true, true])
  })

  it('that is not there changes when it comes', () => {
    rmSync(directory, { recursive: true })
    const directoryWatch = new DirectoryWatch(directory)
    directoryWatch.mayHaveChanged()
    expect(directoryWatch.mayHaveChanged()).toBe(false)
    mkdirSync(directory)
    expect(directoryWatch.mayHaveChanged()).toBe(true)
  })
})
