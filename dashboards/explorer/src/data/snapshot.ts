/** A sweep's snapshot as typed columns: one row a candidate, NaN where a value is not on record. */

export type Direction = 'maximise' | 'minimise';
export type Scale = 'identity' | 'log10' | 'log10_raised' | 'neg_log10_error' | 'other';
export const STATES = ['finished', 'stopped', 'failed', 'running', 'infeasible'] as const;
export type State = (typeof STATES)[number];
export const FINISHED = 0;

export interface Measure {
  name: string;
  label: string;
  unit: string;
  direction: Direction;
  scale: Scale;
  /** The worst value for the hypervolume, in natural units; null where the measure is no objective. */
  reference: number | null;
  meaning: string;
  split: string;
}

export interface Limit {
  measure: string;
  op: '<=' | '>=';
  value: number;
}

export interface Setting {
  name: string;
  kind: 'number' | 'choice';
  log: boolean;
  choices: string[];
  /** Numbers, or places in `choices`; NaN where the setting is inactive. */
  values: Float64Array;
}

export interface Baseline {
  kind: string;
  name: string;
  values: Map<string, number>;
}

export interface Policy {
  name: string;
  options: Map<string, unknown>;
  /** The row that the server's policy takes for the spec's constraints; -1 where it takes none. */
  takes: number;
  reason: string;
}

/** A trial that trains now; it has no row until it ends. */
export interface Running {
  id: string;
  epoch: number;
  value: number;
}

export interface Importance {
  r2: number;
  numTrials: number;
  shares: Map<string, number>;
}

export interface Sweep {
  name: string;
  runId: string;
  experimentId: string;
  state: string;
  startedAt: number;
  updatedAt: number;
  /** Milliseconds that its driver has worked; NaN for a sweep that is in its first run, or of others. */
  elapsed: number;
  task: string;
  data: string;
  seed: string;
  revision: string;
  objectives: string[];
  primary: string;
  /** The bounds that the sweep's front keeps. */
  constraints: Limit[];
  /** Those, and the bounds that the spec selects by: the policies' choices on the server are for them. */
  limits: Limit[];
  /** The front's hypervolume as the server has it; NaN where it has none. */
  hypervolume: number;
  measures: Map<string, Measure>;
  policies: Policy[];
  baselines: Baseline[];
  importance: Map<string, Importance>;
  reproduce: string;
  runLink: string;
  champion: number;
  notes: string[];
  running: Running[];
  numTrials: number;
  n: number;
  ids: string[];
  trial: Int32Array;
  candidate: Int32Array;
  parent: Int32Array;
  runIds: string[];
  states: Uint8Array;
  /** Whether the server has the candidate on the front over the sweep's objectives and constraints. */
  isOnFront: Uint8Array;
  finishedAt: Float64Array;
  isInherited: Uint8Array;
  values: Map<string, Float64Array>;
  /** `values`, and of candidates that did not finish what is known: the sizes, and the primary measure after the last epoch. */
  known: Map<string, Float64Array>;
  low: Map<string, Float64Array>;
  high: Map<string, Float64Array>;
  /** The mean over fresh seeds, whose interval `low` and `high` then are; NaN without. */
  mean: Map<string, Float64Array>;
  /** The number of fresh seeds that a candidate was trained with again; 0 without. */
  seeds: Int32Array;
  settings: Setting[];
}

/** Return the column of a measure; a column of NaN where no candidate has it. */
export function column(sweep: Sweep, measure: string): Float64Array {
  return sweep.values.get(measure) ?? new Float64Array(sweep.n).fill(NaN);
}

/** Return the column of a measure with what is known of candidates that did not finish. */
export function knownColumn(sweep: Sweep, measure: string): Float64Array {
  return sweep.known.get(measure) ?? column(sweep, measure);
}

/** Return 1 where lower is better, -1 where higher is: value times sign is a loss. */
export function sign(measure: Measure): number {
  return measure.direction === 'maximise' ? -1 : 1;
}
