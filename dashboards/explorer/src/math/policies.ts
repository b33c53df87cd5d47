/** The selection policies of `tutelage.policies`: how much each student of a front is wanted, higher is more. */

import { column, sign, type Measure, type Sweep } from '../data/snapshot';
import { contributions } from './hypervolume';

type Options = ReadonlyMap<string, unknown>;
type Scores = (sweep: Sweep, front: readonly number[], options: Options) => number[];

interface Builtin {
  scores: Scores;
  /** The measures that the policy uses beside the objectives; dominance is decided on them too. */
  measures: readonly string[];
}

const SMALLEST = 1e-3;
const AUGMENTATION = 0.05;
const FEWEST = 3; // different students that make a knee

export const POLICIES: ReadonlyMap<string, Builtin> = new Map<string, Builtin>([
  ['best-quality', { scores: quality, measures: [] }],
  ['min-size', { scores: (sweep, front) => front.map((row) => -sizeOf(sweep, row)), measures: [] }],
  ['min-latency', { scores: (sweep, front) => front.map((row) => -column(sweep, 'latency_ms')[row]), measures: ['latency_ms'] }],
  ['smallest-within', { scores: smallestWithin, measures: [] }],
  ['knee', { scores: knee, measures: [] }],
  ['weighted', { scores: weighted, measures: [] }],
  ['hypervolume-contribution', { scores: hypervolumeContribution, measures: [] }],
]);

/** Return the losses of the sweep's objectives for each row of a front. */
export function lossesOf(sweep: Sweep, front: readonly number[]): number[][] {
  const signed = objectives(sweep).map((measure) => ({ values: column(sweep, measure.name), by: sign(measure) }));
  return front.map((row) => signed.map(({ values, by }) => by * values[row]));
}

/** Return a value on the measure's even scale, lower is better; NaN for a scale that only the server has. */
export function evenLoss(measure: Measure, value: number): number {
  return sign(measure) * evenValue(measure, value);
}

function evenValue(measure: Measure, value: number): number {
  if (measure.scale === 'identity') return value;
  if (measure.scale === 'log10') return Math.log10(Math.max(value, SMALLEST));
  if (measure.scale === 'log10_raised') return Math.log10(value + SMALLEST);
  return measure.scale === 'neg_log10_error' ? -Math.log10(1 - value + SMALLEST) : NaN;
}

function objectives(sweep: Sweep): Measure[] {
  return sweep.objectives.map((name) => sweep.measures.get(name)!);
}

function quality(sweep: Sweep, front: readonly number[]): number[] {
  const primary = sweep.measures.get(sweep.primary)!;
  const values = column(sweep, sweep.primary);
  return front.map((row) => -sign(primary) * values[row]);
}

/** A student's bytes, or its parameters where bytes are not on record. */
function sizeOf(sweep: Sweep, row: number): number {
  const bytes = sweep.values.get('size_bytes')?.[row] ?? NaN;
  return Number.isNaN(bytes) ? paramsOf(sweep, row) : bytes;
}

/** A student's parameters; 0 where they are not on record. */
export function paramsOf(sweep: Sweep, row: number): number {
  const params = sweep.values.get('params')?.[row] ?? NaN;
  return Number.isNaN(params) ? 0 : params;
}

function smallestWithin(sweep: Sweep, front: readonly number[], options: Options): number[] {
  const within = Number(options.get('within') ?? 0.01);
  const gain = -sign(sweep.measures.get(sweep.primary)!);
  const qualities = quality(sweep, front);
  const teacher = sweep.baselines.find((one) => one.kind === 'teacher')?.values.get(sweep.primary) ?? NaN;
  const goal = options.get('of') === 'teacher' ? gain * teacher : Math.max(...qualities);
  return front.map((row, place) => (qualities[place] >= goal - within - 1e-12 ? -sizeOf(sweep, row) : -Infinity));
}

function knee(sweep: Sweep, front: readonly number[]): number[] {
  const { rows, places } = distinct(lossesOf(sweep, front));
  if (rows.length < FEWEST) return quality(sweep, front);
  const logs = objectives(sweep).map((measure) => measure.scale === 'log10');
  const matrix = scaled(rows.map((row) => row.map((loss, axis) => (logs[axis] ? Math.log10(Math.max(loss, 1e-9)) : loss))));
  const distances = matrix.map((row) => (1 - sum(row)) / Math.sqrt(row.length));
  return places.map((place) => Math.round(distances[place] * 1e12) / 1e12);
}

function weighted(sweep: Sweep, front: readonly number[], options: Options): number[] {
  const given = (options.get('weights') ?? {}) as Record<string, number>;
  const weights = sweep.objectives.map((name) => (Object.hasOwn(given, name) ? given[name] : 1));
  const values = objectives(sweep).map((measure) => ({ measure, cells: column(sweep, measure.name) }));
  const matrix = scaled(front.map((row) => values.map(({ measure, cells }) => evenLoss(measure, cells[row]))));
  return matrix.map((row) => {
    const terms = row.map((loss, axis) => loss * weights[axis]);
    return -(Math.max(...terms) + AUGMENTATION * sum(terms));
  });
}

function hypervolumeContribution(sweep: Sweep, front: readonly number[]): number[] {
  const { rows, places } = distinct(lossesOf(sweep, front));
  const reference = referenceLosses(sweep);
  const alone = reference.some(Number.isNaN) ? rows.map(() => NaN) : contributions(rows, reference);
  return places.map((place) => alone[place]);
}

/** Return the reference point as losses; NaN where an objective has none. */
export function referenceLosses(sweep: Sweep): number[] {
  return objectives(sweep).map((measure) => sign(measure) * (measure.reference ?? NaN));
}

function distinct(matrix: number[][]): { rows: number[][]; places: number[] } {
  const known = new Map<string, number>();
  const rows: number[][] = [];
  const places = matrix.map((row) => {
    const key = row.join(' ');
    if (!known.has(key)) known.set(key, rows.push(row) - 1);
    return known.get(key)!;
  });
  return { rows, places };
}

/** Return a matrix with every column from 0, its least value, to 1, its largest; 0 where all are equal. */
function scaled(matrix: number[][]): number[][] {
  const axes = (matrix[0] ?? []).map((_, axis) => {
    const values = matrix.map((row) => row[axis]);
    const low = values.reduce((a, b) => Math.min(a, b));
    return { low, span: values.reduce((a, b) => Math.max(a, b)) - low };
  });
  return matrix.map((row) => row.map((value, axis) => (value - axes[axis].low) / (axes[axis].span > 0 ? axes[axis].span : 1)));
}

const sum = (row: readonly number[]): number => row.reduce((total, value) => total + value, 0);
