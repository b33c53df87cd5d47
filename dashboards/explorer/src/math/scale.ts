/** Maps values to pixels, linearly or by logarithm, with round ticks. */

export interface AxisScale {
  isLog: boolean;
  low: number;
  high: number;
  /** The pixels of `low` and `high`. */
  start: number;
  end: number;
}

/** Return the pixel of a value; NaN for a value without a logarithm on a logarithmic axis. */
export function toPixel(scale: AxisScale, value: number): number {
  const share = scale.isLog
    ? Math.log(value / scale.low) / Math.log(scale.high / scale.low)
    : (value - scale.low) / (scale.high - scale.low);
  return scale.start + share * (scale.end - scale.start);
}

/** Return the value at a pixel. */
export function toValue(scale: AxisScale, pixel: number): number {
  const share = (pixel - scale.start) / (scale.end - scale.start);
  return scale.isLog ? scale.low * (scale.high / scale.low) ** share : scale.low + share * (scale.high - scale.low);
}

/** Return ends a little wider than the finite `values`; values that are not positive are left out on a logarithmic axis. */
export function padded(values: ArrayLike<number>, isLog: boolean, share = 0.05): [number, number] {
  let low = Infinity;
  let high = -Infinity;
  for (let place = 0; place < values.length; place++) {
    const value = values[place];
    if (value < low && (!isLog || value > 0) && value > -Infinity) low = value;
    if (value > high && value < Infinity) high = value;
  }
  if (!(low <= high)) return isLog ? [1, 10] : [0, 1];
  if (isLog) {
    const by = low === high ? 1.5 : (high / low) ** share;
    return [low / by, high * by];
  }
  const by = low === high ? Math.abs(low) * 0.1 || 0.5 : (high - low) * share;
  return [low - by, high + by];
}

/** Return about `most` round values inside the scale. */
export function ticks(scale: AxisScale, most: number): number[] {
  return scale.isLog ? logTicks(scale, most) : linearTicks(scale.low, scale.high, most);
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
