import { expect, it } from 'vitest';
import { correlationRatio, quantile, slices, type Bin } from '../src/math/importance';
import { selections } from './fixtures';

const { sweep } = selections('selections-three.json');

it('is 1 where a setting explains everything, 0 where it explains nothing', () => {
  const bin = (rows: number[]): Bin => ({ label: '', low: 0, high: 0, rows, median: 0, lowerQuartile: 0, upperQuartile: 0 });
  const values = Float64Array.of(1, 1, 3, 3);
  expect(correlationRatio([bin([0, 1]), bin([2, 3])], values)).toBe(1);
  expect(correlationRatio([bin([0, 2]), bin([1, 3])], values)).toBe(0);
});

it.each([[[1, 2, 3, 4], 0.5, 2.5], [[1, 2], 0.25, 1.25], [[1, 5, 9], 0.5, 5], [[7], 0.75, 7]])('%j at %d is %d, as in NumPy', (values, share, expected) => {
  expect(quantile(values, share)).toBe(expected);
});

it('finds that the width sets the size', () => {
  const [first] = slices(sweep, sweep.measures.get('size_bytes')!);
  expect(first.setting.name).toBe('student.model.width');
  expect(first.ratio).toBeGreaterThan(0.9);
  const counted = first.bins.reduce((sum, bin) => sum + bin.rows.length, 0);
  expect(counted).toBe(sweep.states.filter((state) => state === 0).length);
});
