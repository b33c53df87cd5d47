import { describe, expect, it } from 'vitest';
import { withIncrement } from '../src/data/api';
import { DocumentError, parseSnapshot } from '../src/data/parse';
import { selections } from './fixtures';

const { document, sweep } = selections('selections-three.json');
const ROWS = ['id', 'trial', 'candidate', 'parent', 'run_id', 'state', 'finished_at', 'provenance', 'values', 'last', 'low', 'high', 'mean', 'seeds'];

function cut(value: unknown, from: number): unknown {
  if (Array.isArray(value)) return value.slice(from);
  return Object.fromEntries(Object.entries(value as object).map(([key, one]) => [key, cut(one, from)]));
}

function rowsOf(from: number): Record<string, unknown> {
  const config = Object.entries(document['config'] as Record<string, { values: unknown[] }>);
  return {
    ...Object.fromEntries(Object.entries(document).map(([key, value]) => [key, ROWS.includes(key) ? cut(value, from) : value])),
    config: Object.fromEntries(config.map(([name, one]) => [name, { ...one, values: one.values.slice(from) }])),
    since: from,
  };
}

describe('a snapshot', () => {
  it.each([
    ['nothing', null],
    ['another format', { ...document, format: 2 }],
    ['a column cut short', { ...document, id: ['t0000'] }],
    ['a measure column cut short', { ...document, values: { accuracy: [0.5] } }],
    ['an objective without its measure', { ...document, measures: {} }],
    ['a count that is no number', { ...document, n: '3' }],
  ])('of %s is an error that names the way out', (_, broken) => {
    expect(() => parseSnapshot(broken)).toThrow(DocumentError);
  });

  it('without candidates is a sweep', () => {
    const empty = parseSnapshot({ ...rowsOf(sweep.n), n: 0, is_on_front: [] });
    expect(empty.n).toBe(0);
  });

  it('keeps a measure named __proto__ as a name', () => {
    const text = JSON.stringify(document).replaceAll('"calibration_error":', '"__proto__":');
    expect(parseSnapshot(JSON.parse(text)).values.has('__proto__')).toBe(true);
  });

  it('with a parent outside of it has no parent', () => {
    const broken = { ...document, parent: new Array(sweep.n).fill(10 ** 6) };
    expect(parseSnapshot(broken).parent.every((parent) => parent === -1)).toBe(true);
  });

  it('takes of two bounds on one side the stricter one', () => {
    const bounds = [{ measure: 'size_bytes', op: '<=', value: 7 }, { measure: 'size_bytes', op: '<=', value: 5 }];
    const both = { ...document, sweep: { ...(document['sweep'] as object), constraints: bounds, limits: [bounds[1]] } };
    expect(parseSnapshot(both).limits).toEqual([bounds[1]]);
  });
});

it('of a sweep in which nothing has ended says so, and that the page looks again', () => {
  const begun = { ...document['sweep'] as object, objectives: [], primary: '' };
  expect(() => parseSnapshot({ ...rowsOf(sweep.n), n: 0, is_on_front: [], sweep: begun })).toThrow('This sweep has no candidate yet.');
});

describe('an increment', () => {
  it('keeps the ladders of its rows', () => {
    const parent = Array.from({ length: sweep.n }, (_, row) => row - 1);
    const news = { ...rowsOf(100), parent: parent.slice(100) };
    expect([...withIncrement(parseSnapshot({ ...headOf(100), n: 100 }), news, 100).parent].slice(100)).toEqual(parent.slice(100));
  });

  it('gives the sweep that the whole snapshot gives', () => {
    const first = withIncrement({ ...sweep, n: 0 }, rowsOf(0), 0);
    const half = parseSnapshot({ ...headOf(100), n: 100 });
    expect(first).toEqual(sweep);
    expect(withIncrement(half, rowsOf(100), 100)).toEqual(sweep);
  });

  it('without rows and news is the same object, so that nothing is drawn again', () => {
    expect(withIncrement(sweep, rowsOf(sweep.n), sweep.n)).toBe(sweep);
  });

  it.each([
    ['without the front', { is_on_front: undefined }, 100],
    ['of rows that the page has not', {}, sweep.n + 1],
    ['with a column cut short', { id: [] }, 100],
  ])('%s is an error', (_, spoilt, since) => {
    expect(() => withIncrement(sweep, { ...rowsOf(100), ...spoilt }, since)).toThrow(DocumentError);
  });

  it('joins choices by their names, not their places', () => {
    const old = parseSnapshot({ ...headOf(2), n: 2, config: { model: { kind: 'choice', choices: ['b'], values: [0, 0] } } });
    const gained = { ...rowsOf(sweep.n - 1), is_on_front: [true, true, false] };
    const news = { ...gained, config: { model: { kind: 'choice', choices: ['a', 'b'], values: [0] } } };
    const [model] = withIncrement(old, news, 2).settings;
    expect([...model.values].map((value) => model.choices[value])).toEqual(['b', 'b', 'a']);
  });
});

function headOf(rows: number): Record<string, unknown> {
  const until = (value: unknown): unknown =>
    Array.isArray(value) ? value.slice(0, rows) : Object.fromEntries(Object.entries(value as object).map(([key, one]) => [key, until(one)]));
  const config = Object.entries(document['config'] as Record<string, { values: unknown[] }>);
  return {
    ...Object.fromEntries(
      Object.entries(document).map(([key, value]) => [key, [...ROWS, 'is_on_front'].includes(key) ? until(value) : value]),
    ),
    config: Object.fromEntries(config.map(([name, one]) => [name, { ...one, values: one.values.slice(0, rows) }])),
  };
}
