import { describe, expect, it } from 'vitest';
import { contributions, GrowingHypervolume, hypervolume } from '../src/math/hypervolume';
import { lexicographicOrder, nonDominated } from '../src/math/pareto';
import { columnsOf, fronts } from './fixtures';

describe.each(fronts())('$num_objectives objectives, $losses.length rows', (one) => {
  const columns = columnsOf(one.losses, one.num_objectives);

  it('has the front of tutelage.pareto', () => {
    const all = new Uint8Array(one.losses.length).fill(1);
    const found = nonDominated(columns, lexicographicOrder(columns), all).sort((a, b) => a - b);
    expect(found).toEqual([...one.is_on_front.keys()].filter((row) => one.is_on_front[row]));
  });

  it('has its hypervolume, whole and as rows come', () => {
    expect(hypervolume(one.losses, one.reference)).toBeCloseTo(one.hypervolume, 6);
    const growing = new GrowingHypervolume(one.reference);
    for (const row of one.losses) growing.add(row);
    expect(growing.volume).toBeCloseTo(one.hypervolume, 5);
  });

  it('has the contribution of each row of the front', () => {
    const onFront = (_: unknown, row: number): boolean => one.is_on_front[row];
    const expected = one.contributions.filter(onFront);
    contributions(one.losses.filter(onFront), one.reference).forEach((value, place) => {
      expect(value).toBeCloseTo(expected[place], 4);
    });
  });
});

it('leaves rows that are no candidates out, so that what they dominate is on the front', () => {
  const columns = columnsOf([[0, 0], [1, 1], [2, 0.5]], 2);
  expect(nonDominated(columns, lexicographicOrder(columns), Uint8Array.of(0, 1, 1))).toEqual([1, 2]);
});
