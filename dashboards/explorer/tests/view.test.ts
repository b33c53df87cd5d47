import { describe, expect, it } from 'vitest';
import { frameOf } from '../src/draw/frame';
import type { Palette } from '../src/draw/palette';
import { pictureOf, staircase } from '../src/draw/picture';
import { escaped, svgOf } from '../src/draw/svg';
import { padded, pixelOf, placedRange, ticks, toPixel, toValue } from '../src/math/scale';
import { axisLabel, compact, labelWithUnit, short, tick, withInterval } from '../src/view/format';
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
      brush: new Map([['config:student.model', [0, 1]], ['config:a~b', [2, 3]], ['accuracy', [0.1, 0.9]]]),
      zoom: { x: [1, 2], y: [0.25, 0.5] },
      chosen: ['t0001', 'lr=0.1,decay=1'],
      focus: 't0003',
      sort: { column: 'config:student.model', isDescending: true },
      sliced: 'latency_ms',
      theme: 'dark',
    };
    const named = { ...sweep, settings: [...sweep.settings, { ...sweep.settings[0], name: 'a~b' }] };
    expect(fromHash(`#${toHash(view, named)}`, named)).toEqual(view);
  });

  it('of the usual view names the sweep alone', () => {
    expect(toHash(defaultView(sweep), sweep)).toBe(`sweep=${sweep.runId}`);
  });

  it('of things that the sweep has not opens the usual view', () => {
    const hash = '#x=<script>&colour=nothing&limits=nothing<=3,accuracy>=no,accuracy>= &brush=a~1~2&brush=accuracy~2~1&brush=accuracy~~&zoom=1~1~2~3&theme=red';
    expect(fromHash(hash, sweep)).toEqual({ ...defaultView(sweep), limits: [] });
  });
});

it('of many compared candidates shows the last eight, each once', () => {
  const ids = [...Array.from({ length: 50 }, (_, place) => `t${place}`), 't49', 't49'];
  expect(fromHash(ids.map((id) => `chosen=${id}`).join('&'), sweep).chosen).toEqual(ids.slice(42, 50));
});

describe('text', () => {
  it.each([[41_204, '41.2 kB'], [999.9, '1 kB'], [680, '680 B'], [4e6, '4 MB']])('%d bytes are %s', (value, text) => {
    expect(short(sweep.measures.get('size_bytes')!, value)).toBe(text);
  });

  it('has half the width of an interval', () => {
    expect(withInterval(sweep.measures.get('accuracy')!, 0.962, 0.958, 0.966)).toBe('0.962 ± 0.004');
    expect(withInterval(sweep.measures.get('accuracy')!, 0.962, NaN, NaN)).toBe('0.962');
  });

  it('of a size names its unit in tables, and on axes in the ticks', () => {
    const size = { ...sweep.measures.get('size_bytes')!, label: 'size' };
    expect([labelWithUnit(size), axisLabel(size)]).toEqual(['size (bytes)', 'size']);
    expect(labelWithUnit(sweep.measures.get('accuracy')!)).toBe('accuracy');
    expect(axisLabel({ ...size, unit: 'nats' })).toBe('size (nats)');
  });

  it.each([[0, '0'], [0.03123, '0.0312'], [1234567, '1.23M'], [-1500, '-1.5k'], [0.000012, '1.2e−5']])('%d is %s', (value, text) => {
    expect(compact(value)).toBe(text);
  });

  it.each([[[0.98, 0.983], 7], [[41_000, 41_060], 6], [[0.0001, 0.00013], 5]])('of the ticks of %s is what they are', (ends, most) => {
    const scale = { kind: 'linear', low: ends[0], high: ends[1], start: 0, end: 700 } as const;
    const values = ticks(scale, most);
    const share = { ...sweep.measures.get('accuracy')!, unit: '' };
    const texts = values.map((value) => tick(share, value));
    expect(texts.map((text) => Number(text.replace('−', '-').replace('k', 'e3')))).toEqual(values);
    expect(tick(sweep.measures.get('size_bytes')!, 41_250)).toBe('41.25 kB');
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

  it.each([
    [' =1', "' =1"], ['＝1+1', "'＝1+1"], ['a;=1', "a;'=1"], ['a\r\n@b', `"a\n'@b"`], ['\t1', "'\t1"], ['1e-5', '1e-5'], ['a=b', 'a=b'],
  ])('%j is no formula in CSV', (cell, expected) => {
    expect(quoted(cell)).toBe(expected);
  });
});

it('a second sweep without the shown measures has no front, and breaks nothing', () => {
  const other = { ...sweep, measures: new Map([...sweep.measures].filter(([name]) => name !== 'accuracy')), values: new Map(sweep.values) };
  other.values.delete('accuracy');
  const view = defaultView(sweep);
  const model = new ModelMaker({ ...other, objectives: ['params', 'size_bytes'], primary: 'params' }).make(view);
  expect(model.front).toEqual([]);
  const frame = frameOf([new ModelMaker(sweep).make(view), model], 600, 400);
  expect(staircase(frame, { model, xs: new Float32Array(sweep.n), ys: new Float32Array(sweep.n) })).toEqual([]);
});

it('the SVG has open marks where the picture has', () => {
  const inherited = { ...sweep, isInherited: new Uint8Array(sweep.n).fill(1) };
  const palette = { isDark: false, surface: '#ffffff', front: '#0000ff' } as Palette;
  const drawn = [inherited, { ...sweep, isInherited: new Uint8Array(sweep.n) }].map((one) => {
    const models = [new ModelMaker(one).make({ ...defaultView(one), z: '' })];
    return svgOf(pictureOf(models, frameOf(models, 600, 400), palette, 1));
  });
  expect(drawn.map((svg) => svg.includes('fill="#ffffff" stroke="#0000ff"'))).toEqual([true, false]);
});

it('the SVG of a zoomed picture draws nothing outside of its axes', () => {
  const view: View = { ...defaultView(sweep), z: '', zoom: { x: [20_000, 21_000], y: [0.1, 0.2] } };
  const models = [new ModelMaker({ ...sweep, baselines: [{ kind: 'teacher', name: 'big', values: new Map([['size_bytes', 9e9], ['accuracy', 1]]) }] }).make(view)];
  const svg = svgOf(pictureOf(models, frameOf(models, 600, 400), { isDark: false, surface: '#ffffff' } as Palette, 1));
  expect(svg).not.toContain('teacher');
  expect(svg).not.toMatch(/best-quality|knee/);
  expect(svg.indexOf('clip-path="url(#plot)"')).toBeLessThan(svg.indexOf('<title>'));
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
  it.each([['linear', 10, 5000, 320], ['log', 10, 5000, 320], ['error', 0.2, 0.999, 0.97]] as const)(
    'gives a value for its own pixel (%s)', (kind, low, high, value) => {
      const scale = { kind, low, high, start: 60, end: 700 };
      expect(toValue(scale, toPixel(scale, value))).toBeCloseTo(value, 8);
      expect(pixelOf(scale)(value)).toBeCloseTo(toPixel(scale, value), 8);
      expect(ticks(scale, 6).length).toBeGreaterThan(2);
      expect(ticks(scale, 6).length).toBeLessThan(12);
    },
  );

  it('of an error gives 0.9 and 0.99 about one step', () => {
    const scale = { kind: 'error', low: 0, high: 0.999, start: 0, end: 1 } as const;
    const step = toPixel(scale, 0.99) - toPixel(scale, 0.9);
    expect(step / (toPixel(scale, 0.9) - toPixel(scale, 0))).toBeCloseTo(1, 1);
  });

  it.each(['linear', 'log', 'error'] as const)('is as wide as its values and a margin (%s)', (kind) => {
    const [low, high] = padded([0.5, 0.9, NaN], kind);
    expect(low).toBeLessThan(0.5);
    expect(high).toBeGreaterThan(0.9);
    expect(padded([0.5, 0.9], kind, 0)).toEqual([0.5, 0.9]);
  });

  it.each([['log', [0, 10], [2, 10]], ['log', [-5, -1], [2, 50]], ['error', [0.5, 1.2], [0.5, 50]], ['linear', [0, 10], [0, 10]], ['linear', [7, 7], [2, 50]]] as const)(
    'zooms to the part of a range that has a place on it (%s)', (kind, range, expected) => {
      expect(placedRange(range, kind, [2, 50])).toEqual(expected);
    },
  );

  it.each([['log', 0, 10], ['log', -1, 10], ['error', 0, 1.2], ['linear', NaN, 1], ['linear', 0, Infinity]] as const)(
    'has no ticks where its ends have no place (%s from %d to %d)', (kind, low, high) => {
      expect(ticks({ kind, low, high, start: 0, end: 1 }, 6)).toEqual([]);
    },
  );

  it('has no place for what has no logarithm', () => {
    expect(toPixel({ kind: 'log', low: 1, high: 10, start: 0, end: 1 }, -1)).toBeNaN();
  });
});
