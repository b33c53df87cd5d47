/** How much of a measure's variance lies between the values of one setting: the correlation ratio. */

import type { Measure, Setting, Sweep } from '../data/snapshot';
import { FINISHED, column } from '../data/snapshot';

export const NUM_BINS = 10;
export const FEWEST = 20; // candidates that an estimate needs

export interface Bin {
  /** The choice, or the least and largest value of the bin. */
  label: string;
  low: number;
  high: number;
  rows: number[];
  median: number;
  lowerQuartile: number;
  upperQuartile: number;
}

export interface Slice {
  setting: Setting;
  /** Between-bin variance over total variance, from 0 to 1; NaN for fewer than `FEWEST` candidates. */
  ratio: number;
  bins: Bin[];
}

/** Return a measure by each setting that has more than one value, the largest correlation ratio first. */
export function slices(sweep: Sweep, measure: Measure): Slice[] {
  const values = column(sweep, measure.name);
  return sweep.settings
    .map((setting) => sliceOf(sweep, setting, values))
    .filter((slice) => slice.bins.length > 1)
    .sort((a, b) => b.ratio - a.ratio);
}

function sliceOf(sweep: Sweep, setting: Setting, values: Float64Array): Slice {
  const rows: number[] = [];
  for (let row = 0; row < sweep.n; row++) {
    if (sweep.states[row] === FINISHED && !Number.isNaN(values[row]) && !Number.isNaN(setting.values[row])) rows.push(row);
  }
  const bins = setting.kind === 'choice' ? byChoice(setting, rows, values) : byCount(setting, rows, values);
  return { setting, ratio: rows.length < FEWEST ? NaN : correlationRatio(bins, values), bins };
}

function byChoice(setting: Setting, rows: number[], values: Float64Array): Bin[] {
  return setting.choices
    .map((choice, place) => ({ choice, place, own: rows.filter((row) => setting.values[row] === place) }))
    .filter(({ own }) => own.length > 0)
    .map(({ choice, place, own }) => binOf(choice, place, place, own, values));
}

/** Bins of about equal count; equal settings are never parted. */
function byCount(setting: Setting, rows: number[], values: Float64Array): Bin[] {
  const sorted = rows.sort((a, b) => setting.values[a] - setting.values[b]);
  const bins: Bin[] = [];
  let start = 0;
  while (start < sorted.length) {
    let end = Math.max(start + 1, Math.round((sorted.length * (bins.length + 1)) / NUM_BINS));
    while (end < sorted.length && setting.values[sorted[end]] === setting.values[sorted[end - 1]]) end++;
    const own = sorted.slice(start, end);
    bins.push(binOf('', setting.values[own[0]], setting.values[own[own.length - 1]], own, values));
    start = end;
  }
  return bins;
}

function binOf(label: string, low: number, high: number, rows: number[], values: Float64Array): Bin {
  const sorted = Float64Array.from(rows, (row) => values[row]).sort();
  const at = (share: number): number => quantile(sorted, share);
  return { label, low, high, rows, median: at(0.5), lowerQuartile: at(0.25), upperQuartile: at(0.75) };
}

/** Return a quantile of sorted values, between two of them in proportion, as NumPy does. */
export function quantile(sorted: ArrayLike<number>, share: number): number {
  const place = share * (sorted.length - 1);
  const below = Math.floor(place);
  const above = Math.min(below + 1, sorted.length - 1);
  return sorted[below] + (sorted[above] - sorted[below]) * (place - below);
}

/** Return the share of the variance that lies between the bins' means; 0 where the measure does not vary. */
export function correlationRatio(bins: readonly Bin[], values: Float64Array): number {
  const mean = (rows: readonly number[]): number => rows.reduce((sum, row) => sum + values[row], 0) / rows.length;
  const all = bins.flatMap((bin) => bin.rows);
  const middle = mean(all);
  const total = all.reduce((sum, row) => sum + (values[row] - middle) ** 2, 0);
  const between = bins.reduce((sum, bin) => sum + bin.rows.length * (mean(bin.rows) - middle) ** 2, 0);
  return total > 0 ? between / total : 0;
}
