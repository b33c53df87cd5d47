import { describe, expect, it } from 'vitest';
import { escaped } from '../src/draw/svg';
import { ticks, toPixel, toValue } from '../src/math/scale';
import { compact, short, withInterval } from '../src/view/format';
import { ModelMaker, visibleRows } from '../src/view/model';
import { parseQuantity } from '../src/view/quantity';
import { defaultView, fromHash, toHash, type View } from '../src/view/view';
import { csvOf, quoted } from '../src/ui/download';
import { pointText } from '../src/ui/scatter';
import { selections } from './fixtures';

const { sweep } = selections('selections-three.json');

describe('the address', () => {
  it('holds the whole view', () => {
    const view: View = {
      ...defaultView(sweep),
      overlay: 'other run',
      x: 'params',
      z: '',
      logX: false,
      logY: true,
      layers: new Set(['infeasible', 'ladders']),
      limits: [{ measure: 'accuracy', op: '>=', value: 0.5 }],
      brush: new Map([['config:student.model', [0, 1]], ['accuracy', [0.1, 0.9]]]),
      zoom: { x: [1, 2], y: [0.25, 0.5] },
      chosen: ['t0001', 't0002'],
      focus: 't0003',
      sort: { column: 'config:student.model', isDescending: true },
      sliced: 'latency_ms',
      theme: 'dark',
    };
    expect(fromHash(`#${toHash(view, sweep)}`, sweep)).toEqual(view);
  });

  it('of the usual view names the sweep alone', () => {
    expect(toHash(defaultView(sweep), sweep)).toBe(`sweep=${sweep.runId}`);
  });

  it('of things that the sweep has not opens the usual view', () => {
    const hash = '#x=<script>&colour=nothing&limits=nothing<=3,accuracy>=no&brush=a~1~2&brush=accuracy~2~1&zoom=1~1~2~3&theme=red';
    expect(fromHash(hash, sweep)).toEqual({ ...defaultView(sweep), limits: [] });
  });
});

describe('text', () => {
  it.each([[41_204, '41.2 kB'], [999.9, '1 kB'], [680, '680 B'], [4e6, '4 MB']])('%d bytes are %s', (value, text) => {
    expect(short(sweep.measures.get('size_bytes')!, value)).toBe(text);
  });

  it('has half the width of an interval', () => {
    expect(withInterval(sweep.measures.get('accuracy')!, 0.962, 0.958, 0.966)).toBe('0.962 ± 0.004');
    expect(withInterval(sweep.measures.get('accuracy')!, 0.962, NaN, NaN)).toBe('0.962');
  });

  it.each([[0, '0'], [0.03123, '0.0312'], [1234567, '1.23M'], [-1500, '-1.5k'], [0.000012, '1.2e−5']])('%d is %s', (value, text) => {
    expect(compact(value)).toBe(text);
  });

  it('reads a point of the front aloud', () => {
    const model = new ModelMaker(sweep).make({ ...defaultView(sweep), z: '' });
    expect(pointText(model, 2)).toMatch(/^point 3 of \d+: [\d.]+ k?B, 0\.\d{3} ± 0\.\d{3}$/);
  });

  it.each([['200k', 2e5], ['20 kB', 2e4], ['4KiB', 4096], ['0.9', 0.9], ['1e3', 1000], ['x', NaN], ['', NaN], ['1e999', NaN]])(
    'the quantity "%s" is %d', (text, value) => {
      expect(parseQuantity(text)).toBe(value);
    },
  );

  it('is escaped in SVG and never a formula in CSV', () => {
    expect(escaped('<script>"&\u0000')).toBe('&lt;script&gt;&quot;&amp;');
    expect(quoted('=cmd|"x"')).toBe(`"'=cmd|""x"""`);
    expect(quoted('-0.5')).toBe('-0.5');
  });
});

describe('the model', () => {
  it('makes again only what the changed view needs', () => {
    const maker = new ModelMaker(sweep);
    const start = maker.make(defaultView(sweep));
    const focused = maker.make({ ...start.view, focus: 't0001' });
    expect([focused.front, focused.classes, focused.choices, focused.isBrushed]).toEqual([start.front, start.classes, start.choices, start.isBrushed]);
    expect(focused.classes).toBe(start.classes);
    expect(focused.choices).toBe(start.choices);
    const brushed = maker.make({ ...start.view, brush: new Map([['accuracy', [0.8, 1]]]) });
    expect(brushed.choices).toBe(start.choices);
    expect(brushed.isBrushed).not.toBe(start.isBrushed);
  });

  it('shows on the table and in the CSV what limits and filter leave', () => {
    const view: View = { ...defaultView(sweep), brush: new Map([['accuracy', [0.85, 1]]]) };
    const model = new ModelMaker(sweep).make(view);
    const rows = [...visibleRows(model)];
    const expected = [...sweep.ids.keys()].filter((row) => {
      const [accuracy, size] = [sweep.values.get('accuracy')![row], sweep.values.get('size_bytes')![row]];
      return sweep.states[row] === 0 && size <= 40_000 && accuracy >= 0.85;
    });
    expect(rows).toEqual(expected);
    expect(csvOf(model).trim().split('\r\n')).toHaveLength(rows.length + 1);
  });
});

describe('a scale', () => {
  it.each([true, false])('gives a value for its own pixel (log %s)', (isLog) => {
    const scale = { isLog, low: 10, high: 5000, start: 60, end: 700 };
    expect(toValue(scale, toPixel(scale, 320))).toBeCloseTo(320, 8);
    expect(ticks(scale, 6).length).toBeGreaterThan(2);
    expect(ticks(scale, 6).length).toBeLessThan(12);
  });

  it('has no place for what has no logarithm', () => {
    expect(toPixel({ isLog: true, low: 1, high: 10, start: 0, end: 1 }, -1)).toBeNaN();
  });
});
