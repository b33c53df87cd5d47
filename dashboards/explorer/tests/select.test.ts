import { describe, expect, it } from 'vitest';
import { parseSnapshot } from '../src/data/parse';
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

describe('a sweep of other programs', () => {
  it('says of a policy whose measure no candidate has that it cannot be applied', () => {
    const { document } = selections('selections-two.json');
    const without = (key: string): Record<string, unknown> => Object.fromEntries(Object.entries(document[key] as object).filter(([name]) => name !== 'latency_ms'));
    const [values, measures] = [without('values'), without('measures')];
    const choices = new Fronts(parseSnapshot({ ...document, values, measures })).choices([]);
    expect(choices.find(({ policy }) => policy.name === 'min-latency')).toMatchObject({ row: -1, unknown: 'No candidate has a value of latency_ms.' });
    expect(choices.find(({ policy }) => policy.name === 'knee')!.row).toBeGreaterThanOrEqual(0);
  });

  it('has no front over a measure that it lacks, as when it is drawn over a sweep of another task', () => {
    expect(new Fronts(selections('selections-two.json').sweep).front(['mean_iou', 'size_bytes'], [])).toEqual([]);
  });
});
