import { describe, expect, it } from 'vitest';
import type { Policy } from '../src/data/snapshot';
import { Fronts, levels } from '../src/math/select';
import { selections } from './fixtures';

describe.each(['selections-two.json', 'selections-three.json'])('%s', (name) => {
  const { sweep, cases } = selections(name);

  it.each(cases)('$limits: the front and every policy’s choice are those of tutelage.selection', (one) => {
    const policies = one.choices.map((choice): Policy => ({
      name: choice.policy, options: new Map(Object.entries(choice.options)), takes: -1, reason: '',
    }));
    const fronts = new Fronts({ ...sweep, policies });
    const found = fronts.choices(one.limits);
    expect(found.map(({ row }) => (row < 0 ? null : sweep.ids[row]))).toEqual(one.choices.map(({ takes }) => takes));
    expect(found.map(({ nearest }) => nearest.map(({ row }) => sweep.ids[row]))).toEqual(one.choices.map(({ nearest }) => nearest));
    expect(fronts.front(sweep.objectives, one.limits).map((row) => sweep.ids[row]).sort()).toEqual(one.front);
  });

  it('shows a user’s policy for the spec’s limits only', () => {
    const policies: Policy[] = [{ name: 'mine:Own', options: new Map(), takes: 7, reason: '' }];
    const fronts = new Fronts({ ...sweep, policies });
    expect(fronts.choices(sweep.limits)[0]).toMatchObject({ row: 7, isServers: true, unknown: '' });
    expect(fronts.choices([])[0].row).toBe(-1);
    expect(fronts.choices([])[0].unknown).not.toBe('');
  });
});

it('gives scores that differ by rounding one level', () => {
  expect(levels([1, 3, 3 - 1e-13, -Infinity, 2])).toEqual([2, 0, 0, 3, 1]);
});
