/** Bounds on measures, in natural units; the rule is that of `tutelage.objectives.Limits`. A bound itself is met. */

import { FINISHED, type Limit, type Sweep } from '../data/snapshot';

/** Return for each row whether it has finished, has every measure of `needed`, and meets every limit. */
export function fits(sweep: Sweep, limits: readonly Limit[], needed: readonly string[]): Uint8Array {
  const found = new Uint8Array(sweep.n); // filled by a loop: `from` takes ten times as long, at every step of a slider
  for (let row = 0; row < sweep.n; row++) found[row] = Number(sweep.states[row] === FINISHED);
  for (const name of needed) {
    const values = sweep.values.get(name);
    if (!values) return new Uint8Array(sweep.n);
    for (let row = 0; row < sweep.n; row++) if (values[row] !== values[row]) found[row] = 0;
  }
  for (const { measure, op, value } of limits) {
    const values = sweep.values.get(measure);
    if (!values) return new Uint8Array(sweep.n);
    if (op === '<=') for (let row = 0; row < sweep.n; row++) found[row] &= Number(values[row] <= value);
    else for (let row = 0; row < sweep.n; row++) found[row] &= Number(values[row] >= value);
  }
  return found;
}

/** By how much a candidate misses a limit, in the measure's unit; NaN where the measure is not on record. */
export interface Miss {
  measure: string;
  by: number;
  limit: Limit;
}

/** Return the limits that a row misses. */
export function misses(sweep: Sweep, limits: readonly Limit[], row: number): Miss[] {
  return limits
    .map((limit) => {
      const value = sweep.values.get(limit.measure)?.[row] ?? NaN;
      return { measure: limit.measure, by: limit.op === '<=' ? value - limit.value : limit.value - value, limit };
    })
    .filter(({ by }) => !(by <= 0));
}

/** A candidate near the limits, what it lacks, and the sum of its relative misses. */
export interface NearMiss {
  row: number;
  misses: Miss[];
  shortfall: number;
}

/**
 * Return the `most` finished candidates that are nearest to fitting: those with the fewest needed measures missing, then the
 * least sum of misses relative to their bounds, then the earliest trial.
 */
export function nearest(sweep: Sweep, limits: readonly Limit[], needed: readonly string[], most = 3): NearMiss[] {
  const lacking = new Set([...needed, ...limits.map((limit) => limit.measure)]);
  const found: { row: number; missing: number; shortfall: number }[] = [];
  for (let row = 0; row < sweep.n; row++) {
    if (sweep.states[row] !== FINISHED) continue;
    const one = { row, missing: numMissing(sweep, lacking, row), shortfall: shortfall(sweep, limits, row) };
    const last = found[most - 1];
    if (last && order(sweep, last, one) <= 0) continue;
    found.push(one);
    found.sort((a, b) => order(sweep, a, b));
    found.length = Math.min(found.length, most);
  }
  return found.map((one) => ({ row: one.row, misses: misses(sweep, limits, one.row), shortfall: one.shortfall }));
}

type Near = { row: number; missing: number; shortfall: number };

function order(sweep: Sweep, a: Near, b: Near): number {
  return a.missing - b.missing || a.shortfall - b.shortfall || sweep.trial[a.row] - sweep.trial[b.row];
}

function numMissing(sweep: Sweep, names: ReadonlySet<string>, row: number): number {
  let found = 0;
  for (const name of names) if (Number.isNaN(sweep.values.get(name)?.[row] ?? NaN)) found++;
  return found;
}

/** Return the sum of relative misses; of two bounds on one measure the larger miss counts, relative to the upper bound. */
export function shortfall(sweep: Sweep, limits: readonly Limit[], row: number): number {
  const worst = new Map<string, number>();
  for (const { measure, by } of misses(sweep, limits, row)) {
    if (!Number.isNaN(by)) worst.set(measure, Math.max(by, worst.get(measure) ?? 0));
  }
  return [...worst].reduce((sum, [measure, by]) => sum + by / (Math.abs(boundOf(limits, measure)) || 1), 0);
}

function boundOf(limits: readonly Limit[], measure: string): number {
  const own = limits.filter((limit) => limit.measure === measure);
  return (own.find((limit) => limit.op === '<=') ?? own[0]).value;
}

/** Return whether two lists hold the same limits, in any order. */
export function sameLimits(a: readonly Limit[], b: readonly Limit[]): boolean {
  const key = (limits: readonly Limit[]): string =>
    limits.map((limit) => `${limit.measure} ${limit.op} ${limit.value}`).sort().join('\n');
  return key(a) === key(b);
}
