/** Maps values to pixels, on a linear axis, a logarithmic one, or one of the logarithm of a share's error, with round ticks. */

import type { Measure } from '../data/snapshot';
import type { Range } from '../view/view';

/** On an axis of the error, 0.9, 0.99 and 0.999 are about one step apart. */
export type Kind = 'linear' | 'log' | 'error';

export interface AxisScale {
  kind: Kind;
  low: number;
  high: number;
  /** The pixels of `low` and `high`. */
  start: number;
  end: number;
}

const SMALLEST = 1e-3; // added to an error, as the package's measures do

/** Return the logarithmic kind of axis that fits a measure, or the linear one. */
export function kindOf(measure: Measure | undefined, isLog: boolean): Kind {
  if (!isLog) return 'linear';
  return measure?.scale === 'neg_log10_error' ? 'error' : 'log';
}

/** Return a value where equal steps are equal lengths; NaN for a value that has no place on such an axis. */
export function stretched(kind: Kind, value: number): number {
  if (kind === 'linear') return value;
  return kind === 'log' ? Math.log10(value > 0 ? value : NaN) : -Math.log10(value <= 1 ? 1 - value + SMALLEST : NaN);
}

function unstretched(kind: Kind, length: number): number {
  if (kind === 'linear') return length;
  return kind === 'log' ? 10 ** length : 1 + SMALLEST - 10 ** -length;
}

/** Return the share of the way from `low` to `high`. */
export function shareOf({ kind, low, high }: Pick<AxisScale, 'kind' | 'low' | 'high'>, value: number): number {
  const from = stretched(kind, low);
  return (stretched(kind, value) - from) / (stretched(kind, high) - from);
}

/** Return the value at a share of the way from `low` to `high`. */
export function valueAt({ kind, low, high }: Pick<AxisScale, 'kind' | 'low' | 'high'>, share: number): number {
  const [from, to] = [stretched(kind, low), stretched(kind, high)];
  return unstretched(kind, from + share * (to - from));
}

/** Return the pixel of a value; NaN for a value that has no place on the axis. */
export function toPixel(scale: AxisScale, value: number): number {
  return scale.start + shareOf(scale, value) * (scale.end - scale.start);
}

/** Return a function that is `toPixel` of a scale, for many values. */
export function pixelOf(scale: AxisScale): (value: number) => number {
  const { kind, start, end } = scale;
  const from = stretched(kind, scale.low);
  const by = (end - start) / (stretched(kind, scale.high) - from);
  return (value) => start + (stretched(kind, value) - from) * by;
}

/** Return the value at a pixel. */
export function toValue(scale: AxisScale, pixel: number): number {
  return valueAt(scale, (pixel - scale.start) / (scale.end - scale.start));
}

/** Return ends a little wider than the finite `values`; those that have no place on the axis are left out. */
export function padded(values: ArrayLike<number>, kind: Kind, share = 0.05): [number, number] {
  let low = Infinity;
  let high = -Infinity;
  for (let place = 0; place < values.length; place++) {
    const value = values[place];
    if ((kind === 'log' && value <= 0) || (kind === 'error' && value > 1)) continue;
    if (value < low && value > -Infinity) low = value;
    if (value > high && value < Infinity) high = value;
  }
  if (!(low <= high)) return kind === 'log' ? [1, 10] : kind === 'error' ? [0, 0.9] : [0, 1];
  const [from, to] = [stretched(kind, low), stretched(kind, high)];
  const alone = kind === 'linear' ? Math.abs(low) * 0.1 || 0.5 : 0.18;
  const by = low === high ? alone : (to - from) * share;
  return by === 0 ? [low, high] : [unstretched(kind, from - by), unstretched(kind, to + by)];
}

/** Return a range of which an end that has no place on the axis, such as 0 on a logarithmic one, is that of `shown`. */
export function placedRange([low, high]: Range, kind: Kind, shown: Range): Range {
  const has = (value: number): boolean => Number.isFinite(stretched(kind, value));
  const found: Range = [has(low) ? low : shown[0], has(high) ? high : shown[1]];
  return found[0] < found[1] ? found : shown;
}

/** Return about `most` round values inside the scale; none where an end of it has no place on such an axis. */
export function ticks(scale: AxisScale, most: number): number[] {
  if (![scale.low, scale.high].every((end) => Number.isFinite(stretched(scale.kind, end)))) return [];
  if (scale.kind === 'error') return errorTicks(scale, most);
  return scale.kind === 'log' ? logTicks(scale, most) : linearTicks(scale.low, scale.high, most);
}

function linearTicks(low: number, high: number, most: number): number[] {
  const step = roundStep((high - low) / Math.max(1, most));
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  return Array.from({ length: Math.max(0, last - first + 1) }, (_, place) => Number(((first + place) * step).toPrecision(12)));
}

function roundStep(rough: number): number {
  const power = 10 ** Math.floor(Math.log10(rough));
  const factor = [1, 2, 2.5, 5, 10].find((one) => one * power >= rough * 0.999) ?? 10;
  return factor * power;
}

function logTicks(scale: AxisScale, most: number): number[] {
  const decades = Math.log10(scale.high / scale.low);
  if (decades < 0.7) return linearTicks(scale.low, scale.high, most).filter((value) => value > 0);
  const factors = [[1, 2, 3, 5], [1, 2, 5], [1, 3], [1]].find((one) => one.length * decades <= most) ?? [1];
  const every = Math.max(1, Math.ceil(decades / most));
  const found: number[] = [];
  for (let power = Math.floor(Math.log10(scale.low)); power <= Math.log10(scale.high); power++) {
    if (power % every !== 0) continue;
    found.push(...factors.map((factor) => Number((factor * 10 ** power).toPrecision(12))));
  }
  return found.filter((value) => value >= scale.low * (1 - 1e-9) && value <= scale.high * (1 + 1e-9));
}

const SHARES = [-1, 0, 0.5, 0.7, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99, 0.995, 0.998, 1];

/** Round shares; of more than `most` those of the least distance are left out. */
function errorTicks(scale: AxisScale, most: number): number[] {
  const shown = SHARES.filter((value) => value >= scale.low - 1e-9 && value <= scale.high + 1e-9);
  const apart = 1 / (most * 1.5);
  const kept: number[] = [];
  for (const value of shown) {
    const before = kept[kept.length - 1];
    if (before === undefined || shareOf(scale, value) - shareOf(scale, before) >= apart) kept.push(value);
  }
  return kept.length > 1 ? kept : linearTicks(scale.low, scale.high, most).filter((value) => value <= 1);
}
