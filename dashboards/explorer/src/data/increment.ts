/** Join the rows that a live sweep has gained to those that the page has. */

import type { Setting, Sweep } from './snapshot';

/** Return the sweep with the rows of `gained` behind the first `since` rows of `sweep`; whole columns are taken from `gained`. */
export function appendRows(sweep: Sweep, gained: Sweep, since: number, isOnFront: Uint8Array): Sweep {
  const n = since + gained.n;
  return {
    ...gained,
    runId: sweep.runId,
    n,
    isOnFront,
    ids: [...sweep.ids.slice(0, since), ...gained.ids],
    runIds: [...sweep.runIds.slice(0, since), ...gained.runIds],
    trial: joined(sweep.trial, gained.trial, since),
    candidate: joined(sweep.candidate, gained.candidate, since),
    parent: joined(sweep.parent, gained.parent, since),
    states: joined(sweep.states, gained.states, since),
    isInherited: joined(sweep.isInherited, gained.isInherited, since),
    seeds: joined(sweep.seeds, gained.seeds, since),
    finishedAt: joined(sweep.finishedAt, gained.finishedAt, since),
    values: joinedMaps(sweep.values, gained.values, since, gained.n),
    known: joinedMaps(sweep.known, gained.known, since, gained.n),
    mean: joinedMaps(sweep.mean, gained.mean, since, gained.n),
    low: joinedMaps(sweep.low, gained.low, since, gained.n),
    high: joinedMaps(sweep.high, gained.high, since, gained.n),
    settings: joinedSettings(sweep.settings, gained.settings, since, gained.n),
  };
}

function joined<T extends Int32Array | Float64Array | Uint8Array>(old: T, gained: T, since: number): T {
  const found = new (old.constructor as new (length: number) => T)(since + gained.length);
  found.set(old.subarray(0, since));
  found.set(gained, since);
  return found;
}

function joinedMaps(
  old: Map<string, Float64Array>,
  gained: Map<string, Float64Array>,
  since: number,
  num: number,
): Map<string, Float64Array> {
  const names = new Set([...old.keys(), ...gained.keys()]);
  const empty = (length: number): Float64Array => new Float64Array(length).fill(NaN);
  return new Map(
    [...names].map((name) => [name, joined(old.get(name) ?? empty(since), gained.get(name) ?? empty(num), since)]),
  );
}

/** Choices are joined by their text: the server may list them in another order once a new one has come. */
function joinedSettings(old: Setting[], gained: Setting[], since: number, num: number): Setting[] {
  const names = [...new Set([...old, ...gained].map((setting) => setting.name))];
  return names.map((name) => {
    const before = old.find((one) => one.name === name);
    const after = gained.find((one) => one.name === name);
    const latest = (after ?? before)!;
    const choices = [...new Set([...(before?.choices ?? []), ...(after?.choices ?? [])])];
    const values = new Float64Array(since + num).fill(NaN);
    if (before) values.set(before.values.subarray(0, since));
    after?.values.forEach((value, index) => {
      values[since + index] = after.kind === 'choice' ? choices.indexOf(after.choices[value] ?? '') : value;
    });
    return { ...latest, choices, values };
  });
}
