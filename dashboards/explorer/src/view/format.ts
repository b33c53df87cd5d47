/** Values as text: short on axes and in sentences, in full in tables. */

import type { Measure, Setting } from '../data/snapshot';

const EXACT = 10; // digits; more show the rounding of binary numbers
const PREFIXES: readonly [number, string][] = [[1e12, 'T'], [1e9, 'G'], [1e6, 'M'], [1e3, 'k']];

/** Return a value with its unit, short: "41 kB", "0.962", "3.4 ms", "4.36k parameters". */
export function short(measure: Measure, value: number): string {
  if (Number.isNaN(value)) return '–';
  if (measure.unit === 'bytes') return bytes(value);
  if (measure.unit === 'share' || measure.unit === '') return isShare(measure, value) ? value.toFixed(3) : compact(value);
  return `${compact(value)} ${measure.unit}`;
}

/** Return an axis tick, a round value, with all of its digits: rounded ones would be equal on a short axis. */
export function tick(measure: Measure, value: number): string {
  const text = compact(value, EXACT);
  if (measure.unit === 'bytes') return inBytes(text);
  return measure.unit === 'ms' ? `${text} ms` : text;
}

/** Return a value in full, as tables show it: "41,204", "0.9620". */
export function full(measure: Measure, value: number): string {
  if (Number.isNaN(value)) return '–';
  if (isShare(measure, value)) return value.toFixed(4);
  return Number.isInteger(value) ? grouped(value) : String(Number(value.toPrecision(6)));
}

/** Return a value with half the width of its interval: "0.962 ± 0.004"; without an interval the value alone. */
export function withInterval(measure: Measure, value: number, low: number, high: number): string {
  const half = (high - low) / 2;
  if (Number.isNaN(half)) return short(measure, value);
  const isPlain = measure.unit === 'share' || measure.unit === 'bytes';
  return isPlain ? `${short(measure, value)} ± ${short(measure, half)}` : `${compact(value)} ± ${short(measure, half)}`;
}

/** Return a setting's value as text. */
export function settingText(setting: Setting, value: number): string {
  if (Number.isNaN(value)) return '–';
  return setting.kind === 'choice' ? (setting.choices[value] ?? '–') : String(Number(value.toPrecision(5)));
}

/** Return the measure's label with its unit: "latency (ms)"; a share has none. */
export function labelWithUnit(measure: Measure): string {
  const hasUnit = measure.unit !== '' && measure.unit !== 'share' && !measure.label.includes(measure.unit);
  return hasUnit ? `${measure.label} (${measure.unit})` : measure.label;
}

/** Return the measure's label for an axis, whose ticks have the units of sizes and times. */
export function axisLabel(measure: Measure): string {
  return measure.unit === 'bytes' || measure.unit === 'ms' ? measure.label : labelWithUnit(measure);
}

/** Return a whole number with thousands separated. */
export function grouped(value: number): string {
  return value.toLocaleString('en-US', { maximumFractionDigits: 0 });
}

/** Return a length of time: "48 s", "12 min", "3 h 20 min". */
export function duration(ms: number): string {
  const minutes = Math.round(ms / 60_000);
  if (ms < 90_000) return `${Math.max(0, Math.round(ms / 1000))} s`;
  if (minutes < 60) return `${minutes} min`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

function isShare(measure: Measure, value: number): boolean {
  return measure.unit === 'share' && Math.abs(value) <= 1;
}

function bytes(value: number): string {
  return inBytes(compact(value));
}

const inBytes = (text: string): string => `${text.replace(/([kMGT]?)$/, ' $1')}B`;

/** Return at most three significant digits (or `digits`), with a prefix from a thousand: "41.2k", "0.0312", "7". */
export function compact(value: number, digits = 3): string {
  const size = Math.abs(value);
  for (const [unit, prefix] of PREFIXES) {
    if (size >= unit * (digits > 3 ? 1 : 0.9995)) return `${Number((value / unit).toPrecision(digits))}${prefix}`;
  }
  if (size !== 0 && size < 1e-3) return Number(value.toPrecision(digits - 1)).toExponential().replace('e-', 'e−');
  return String(Number(value.toPrecision(digits)));
}
