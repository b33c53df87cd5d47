/** The student that a policy takes from a sweep under limits; the rule is that of `tutelage.selection.query`. */

import { column, sign, type Limit, type Policy, type Sweep } from '../data/snapshot';
import { fits, nearest, sameLimits, type NearMiss } from './limits';
import { lexicographicOrder, nonDominated } from './pareto';
import { paramsOf, POLICIES } from './policies';

const MOST_BEYOND_THREE = 300; // students whose contributions over more than three objectives are computed here
const ROUNDING = 1e-12; // of the largest score

/** What a policy takes: a row, or -1 with the nearest misses; `isServers` where the server's choice is shown. */
export interface Choice {
  policy: Policy;
  row: number;
  nearest: NearMiss[];
  isServers: boolean;
  /** Why this page cannot say what the policy takes; "" where it can. */
  unknown: string;
}

/** The fronts of one sweep under changing limits: the orders of its rows are made once and kept. */
export class Fronts {
  private readonly orders = new Map<string, { losses: Float64Array[]; order: Uint32Array }>();

  private readonly masks = new Map<string, Uint8Array>();
  private lastLimits: readonly Limit[] = [];

  constructor(readonly sweep: Sweep) {}

  /** Return the finished rows that meet `limits`, have all `measures`, and that no other such row dominates. */
  front(measures: readonly string[], limits: readonly Limit[]): number[] {
    const { losses, order } = this.ordered(measures);
    return nonDominated(losses, order, this.fitting(limits, measures));
  }

  /** Return `fits` of the sweep; what the last limits gave is kept. */
  private fitting(limits: readonly Limit[], measures: readonly string[]): Uint8Array {
    if (limits !== this.lastLimits) this.masks.clear();
    this.lastLimits = limits;
    const key = [...measures].sort().join(' ');
    const found = this.masks.get(key) ?? fits(this.sweep, limits, measures);
    this.masks.set(key, found);
    return found;
  }

  /** Return what each policy of the sweep takes under `limits`. */
  choices(limits: readonly Limit[]): Choice[] {
    const fronts = new Map<string, number[]>();
    return this.sweep.policies.map((policy) => this.choice(policy, limits, fronts));
  }

  private choice(policy: Policy, limits: readonly Limit[], fronts: Map<string, number[]>): Choice {
    const builtin = POLICIES.get(policy.name);
    const found = { policy, row: -1, nearest: [], isServers: false, unknown: '' };
    if (!builtin || this.hasForeignScale(policy)) return this.servers(policy, limits);
    const axes = [...this.sweep.objectives, ...builtin.measures.filter((name) => !this.sweep.objectives.includes(name))];
    const absent = axes.find((name) => !this.sweep.values.has(name));
    if (absent !== undefined) return { ...found, unknown: `No candidate has a value of ${this.sweep.measures.get(absent)?.label ?? absent}.` };
    const key = axes.join(' ');
    const front = fronts.get(key) ?? this.front(axes, limits);
    fronts.set(key, front);
    if (front.length === 0) return { ...found, nearest: nearest(this.sweep, limits, axes) };
    if (policy.name === 'hypervolume-contribution' && axes.length > 3 && front.length > MOST_BEYOND_THREE) return this.servers(policy, limits);
    const scores = builtin.scores(this.sweep, front, policy.options);
    if (scores.some(Number.isNaN)) return { ...found, unknown: 'The snapshot lacks a value that this policy needs.' };
    return { ...found, row: best(this.sweep, front, scores) };
  }

  private hasForeignScale(policy: Policy): boolean {
    return policy.name === 'weighted' && this.sweep.objectives.some((name) => this.sweep.measures.get(name)!.scale === 'other');
  }

  private servers(policy: Policy, limits: readonly Limit[]): Choice {
    const isKnown = sameLimits(limits, this.sweep.limits);
    const unknown = isKnown ? '' : 'Only the server can apply this policy: it is shown for the spec’s limits.';
    return { policy, row: isKnown ? policy.takes : -1, nearest: [], isServers: true, unknown };
  }

  private ordered(measures: readonly string[]): { losses: Float64Array[]; order: Uint32Array } {
    const names = [...measures].sort(); // dominance does not depend on the order, and the sort is the dearest step
    const key = names.join(' ');
    let found = this.orders.get(key);
    if (!found) {
      const losses = names.map((name) => lossColumn(this.sweep, name));
      found = { losses, order: lexicographicOrder(losses) };
      this.orders.set(key, found);
    }
    return found;
  }
}

/** Return a measure's losses; a missing value is infinite, so that it stands last. A second sweep may lack the whole measure. */
export function lossColumn(sweep: Sweep, name: string): Float64Array {
  const measure = sweep.measures.get(name);
  const by = measure ? sign(measure) : 1;
  const values = column(sweep, name);
  const found = new Float64Array(values.length);
  for (let row = 0; row < found.length; row++) found[row] = values[row] === values[row] ? by * values[row] : Infinity;
  return found;
}

/** Return the row of the highest score; of equals the better primary measure, then fewer parameters, then the earlier one. */
function best(sweep: Sweep, front: readonly number[], scores: readonly number[]): number {
  const primary = column(sweep, sweep.primary);
  const by = sign(sweep.measures.get(sweep.primary)!);
  const ranks = levels(scores);
  const keys = (place: number): number[] => {
    const row = front[place];
    return [ranks[place], by * primary[row], paramsOf(sweep, row), sweep.trial[row], sweep.candidate[row]];
  };
  let first = -1;
  for (let place = 0; place < front.length; place++) {
    if (scores[place] === -Infinity || (first >= 0 && ranks[place] > ranks[first])) continue;
    if (first < 0 || compare(keys(place), keys(first)) < 0) first = place;
  }
  return first < 0 ? -1 : front[first];
}

function compare(a: readonly number[], b: readonly number[]): number {
  const axis = a.findIndex((value, place) => value !== b[place]);
  return axis < 0 ? 0 : a[axis] - b[axis];
}

/** Return the level of each score: 0 for the highest and scores that differ from it by rounding only, then 1, and so on. */
export function levels(scores: readonly number[]): number[] {
  const tolerance = ROUNDING * Math.max(0, ...scores.filter(Number.isFinite).map(Math.abs));
  const found = new Array<number>(scores.length).fill(0);
  let level = -1;
  let highest = Infinity;
  for (const place of scores.map((_, index) => index).sort((a, b) => scores[b] - scores[a])) {
    if (level < 0 || highest - scores[place] > tolerance) {
      level++;
      highest = scores[place];
    }
    found[place] = level;
  }
  return found;
}
