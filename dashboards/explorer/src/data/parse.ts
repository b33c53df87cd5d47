/** Read a snapshot's JSON document as a `Sweep`. Every text in it is untrusted and is only ever shown as text. */

import {
  STATES,
  type Baseline,
  type Importance,
  type Limit,
  type Measure,
  type Policy,
  type Running,
  type Scale,
  type Setting,
  type Sweep,
} from './snapshot';

/** What is wrong with a document, why, and the way out. */
export class DocumentError extends Error {
  constructor(
    readonly what: string,
    readonly why: string,
    readonly wayOut: string,
  ) {
    super([what, why, wayOut].filter((part) => part !== '').join(' '));
  }
}

type Json = Record<string, unknown>;

/**
 * Return the sweep of a document; `DocumentError` where it is cut short or of another format.
 *
 * Parents are rows of the whole sweep, which has `total` rows: more than a document of its last rows has.
 */
export function parseSnapshot(document: unknown, total?: number): Sweep {
  const top = object(document);
  if (top['format'] !== 1) {
    throw broken(`Its format is ${text(top['format'], 'missing')}, and this page reads format 1.`);
  }
  const rows = count(top['n'], 'n');
  return { ...head(top, rows), ...columns(top, rows, total ?? rows), n: rows };
}

function broken(why: string): DocumentError {
  return new DocumentError('The snapshot cannot be read.', why, 'Reload the page; the server writes a new snapshot as trials end.');
}

function head(top: Json, rows: number) {
  const sweep = object(top['sweep']);
  const measures = measuresOf(object(top['measures']), object(sweep['reference'] ?? {}));
  const objectives = texts(sweep['objectives']);
  if (objectives.length < 2 && rows === 0) {
    throw new DocumentError('This sweep has no candidate yet.', 'No trial has ended.', 'This page looks again by itself.');
  }
  const missing = [...objectives, text(sweep['primary'], '')].find((name) => !measures.has(name));
  if (missing !== undefined || objectives.length < 2) {
    throw broken(missing === undefined ? 'It has fewer than two objectives.' : `It does not describe the measure "${missing}".`);
  }
  return {
    name: text(sweep['name'], 'unnamed'),
    runId: text(sweep['run_id'], ''),
    experimentId: text(sweep['experiment_id'], ''),
    state: text(sweep['state'], 'finished'),
    startedAt: number(sweep['started_at']),
    updatedAt: number(sweep['updated_at']),
    elapsed: 1000 * number(sweep['elapsed_s']),
    task: text(sweep['task'], ''),
    data: text(sweep['data'], ''),
    seed: text(sweep['seed'], ''),
    revision: text(top['revision'] ?? sweep['revision'], ''),
    objectives,
    primary: text(sweep['primary'], ''),
    constraints: list(sweep['constraints']).map(limitOf),
    limits: strictest([...list(sweep['constraints']), ...list(sweep['limits'])].map(limitOf)),
    hypervolume: number(sweep['hypervolume']),
    measures,
    policies: policiesOf(sweep['policies'] ?? top['policies']),
    baselines: list(top['baselines']).map(baselineOf),
    importance: importanceOf(top['importance']),
    reproduce: text(object(sweep['commands'] ?? {})['reproduce'], ''),
    runLink: text(object(top['links'] ?? sweep['links'] ?? {})['run'], ''),
    champion: row(top['is_champion']),
    notes: texts(sweep['notes']),
    running: list(sweep['running']).map(runningOf),
    numTrials: number(sweep['num_trials']),
  };
}

function columns(top: Json, n: number, total: number) {
  const values = numberColumns(top['values'], n, 'values');
  return {
    ids: textColumn(top, 'id', n),
    trial: Int32Array.from(numberColumn(top['trial'] ?? [], n, 'trial', true), (value, index) => orElse(value, index)),
    candidate: Int32Array.from(numberColumn(top['candidate'] ?? [], n, 'candidate', true), (value) => orElse(value, 0)),
    parent: Int32Array.from(numberColumn(top['parent'] ?? [], n, 'parent', true), (value) => within(value, total)),
    runIds: textColumn(top, 'run_id', n, true),
    states: Uint8Array.from(textColumn(top, 'state', n), stateCode),
    isOnFront: flags(top['is_on_front'] ?? [], n, 'is_on_front'),
    finishedAt: numberColumn(top['finished_at'] ?? [], n, 'finished_at', true),
    isInherited: Uint8Array.from(textColumn(top, 'provenance', n, true), (value) => Number(value === 'inherited')),
    seeds: Int32Array.from(numberColumn(top['seeds'] ?? [], n, 'seeds', true), (value) => orElse(value, 0)),
    values,
    known: filled(values, numberColumns(top['last'] ?? {}, n, 'last')),
    mean: numberColumns(top['mean'] ?? {}, n, 'mean'),
    low: numberColumns(top['low'] ?? {}, n, 'low'),
    high: numberColumns(top['high'] ?? {}, n, 'high'),
    settings: Object.entries(object(top['config'] ?? {})).map(([name, value]) => settingOf(name, object(value), n)),
  };
}

function measuresOf(document: Json, references: Json): Map<string, Measure> {
  const own = (name: string): unknown => (Object.hasOwn(references, name) ? references[name] : undefined);
  return new Map(Object.entries(document).map(([name, value]) => [name, measureOf(name, object(value), own(name))]));
}

function measureOf(name: string, value: Json, reference: unknown): Measure {
  return {
    name,
    label: text(value['label'], name),
    unit: text(value['unit'], ''),
    direction: text(value['direction'], 'min').startsWith('max') ? 'maximise' : 'minimise',
    scale: scaleOf(text(value['scale'], 'other')),
    reference: finiteOrNull(reference ?? value['reference']),
    meaning: text(value['meaning'], ''),
    split: text(value['split'], ''),
  };
}

function scaleOf(name: string): Scale {
  return name === 'identity' || name === 'log10' || name === 'log10_raised' || name === 'neg_log10_error' ? name : 'other';
}

function limitOf(value: unknown): Limit {
  const limit = object(value);
  return { measure: text(limit['measure'], ''), op: limit['op'] === '>=' ? '>=' : '<=', value: number(limit['value']) };
}

/** Keep of several bounds on one side of a measure the one that is met least often. */
export function strictest(limits: Limit[]): Limit[] {
  const isStricter = (one: Limit, other: Limit): boolean => (one.op === '<=' ? one.value < other.value : one.value > other.value);
  const isSide = (one: Limit, other: Limit): boolean => one !== other && one.measure === other.measure && one.op === other.op;
  return limits.filter(
    (limit, place) =>
      !limits.some((other, at) => isSide(limit, other) && (isStricter(other, limit) || (other.value === limit.value && at < place))),
  );
}

function policiesOf(value: unknown): Policy[] {
  return Object.entries(object(value ?? {})).map(([name, policy]) => ({
    name,
    options: new Map(Object.entries(object(object(policy)['options'] ?? {}))),
    takes: row(object(policy)['takes']),
    reason: text(object(policy)['reason'] ?? object(policy)['why_none'], ''),
  }));
}

function baselineOf(value: unknown): Baseline {
  const baseline = object(value);
  const values = Object.entries(object(baseline['values'])).filter((entry): entry is [string, number] => Number.isFinite(entry[1]));
  return { kind: text(baseline['kind'], 'baseline'), name: text(baseline['name'], 'baseline'), values: new Map(values) };
}

function importanceOf(value: unknown): Map<string, Importance> {
  return new Map(
    Object.entries(object(value ?? {})).map(([name, one]) => {
      const shares = Object.entries(object(object(one)['shares'])).map(([key, share]): [string, number] => [key, number(share)]);
      return [name, { r2: number(object(one)['r2']), numTrials: number(object(one)['num_trials']), shares: new Map(shares) }];
    }),
  );
}

function runningOf(value: unknown): Running {
  const one = object(value);
  return { id: text(one['id'], ''), epoch: number(one['epoch']), value: number(one['value']) };
}

function settingOf(name: string, value: Json, n: number): Setting {
  return {
    name,
    kind: value['kind'] === 'choice' ? 'choice' : 'number',
    log: value['log'] === true,
    choices: list(value['choices']).map((choice) => (typeof choice === 'string' ? choice : JSON.stringify(choice))),
    values: numberColumn(value['values'], n, `config of ${name}`),
  };
}

function stateCode(state: string): number {
  const code = STATES.indexOf(state as (typeof STATES)[number]);
  return code < 0 ? STATES.indexOf('failed') : code;
}

function numberColumns(value: unknown, n: number, name: string): Map<string, Float64Array> {
  return new Map(Object.entries(object(value)).map(([key, cells]) => [key, numberColumn(cells, n, `${name} of ${key}`)]));
}

/** Return the columns with the entries that they lack taken from `others`. */
function filled(columns: Map<string, Float64Array>, others: Map<string, Float64Array>): Map<string, Float64Array> {
  const found = new Map(columns);
  for (const [name, other] of others) {
    const own = columns.get(name);
    found.set(name, own ? own.map((value, row) => (Number.isNaN(value) ? other[row] : value)) : other);
  }
  return found;
}

function numberColumn(value: unknown, n: number, name: string, isOptional = false): Float64Array {
  const cells = column(value, n, name, isOptional);
  const found = new Float64Array(n);
  for (let index = 0; index < n; index++) {
    const cell = cells[index];
    found[index] = typeof cell === 'number' ? cell : NaN;
  }
  return found;
}

function textColumn(top: Json, name: string, n: number, isOptional = false): string[] {
  const cells = column(top[name] ?? (isOptional ? [] : undefined), n, name, isOptional);
  const found = new Array<string>(n);
  for (let index = 0; index < n; index++) found[index] = text(cells[index], '');
  return found;
}

function flags(value: unknown, n: number, name: string): Uint8Array {
  const cells = column(value, n, name, true);
  return Uint8Array.from({ length: n }, (_, index) => Number(cells[index] === true || cells[index] === 1));
}

function column(value: unknown, n: number, name: string, isOptional: boolean): unknown[] {
  const cells = list(value);
  if (cells.length !== n && !(isOptional && cells.length === 0)) {
    throw broken(`Its column "${name}" has ${cells.length} entries for ${n} candidates: it is cut short.`);
  }
  return cells;
}

function object(value: unknown): Json {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw broken('A part of it is missing or is no object: it is cut short.');
  }
  return value as Json;
}

const list = (value: unknown): unknown[] => (Array.isArray(value) ? (value as unknown[]) : []);
const texts = (value: unknown): string[] => list(value).map((one) => text(one, ''));
const number = (value: unknown): number => (typeof value === 'number' ? value : NaN);
const finiteOrNull = (value: unknown): number | null => (typeof value === 'number' && Number.isFinite(value) ? value : null);
const row = (value: unknown): number => (typeof value === 'number' && Number.isInteger(value) ? value : -1);
const orElse = (value: number, other: number): number => (Number.isNaN(value) ? other : value);
const within = (value: number, n: number): number => (Number.isInteger(value) && value >= 0 && value < n ? value : -1);

function text(value: unknown, other: string): string {
  return typeof value === 'string' ? value : typeof value === 'number' || typeof value === 'boolean' ? String(value) : other;
}

function count(value: unknown, name: string): number {
  if (typeof value !== 'number' || !Number.isInteger(value) || value < 0) {
    throw broken(`"${name}" is no number of candidates.`);
  }
  return value;
}
