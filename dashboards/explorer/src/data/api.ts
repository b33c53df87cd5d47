/** The server's interface: sweeps, snapshots, a candidate's detail, promotion. */

import { DocumentError, parseSnapshot } from './parse';
import { appendRows } from './increment';
import type { Sweep } from './snapshot';

export interface SweepLine {
  name: string;
  runId: string;
  state: string;
  n: number;
}

export interface Detail {
  curves: Map<string, [number[], number[]]>;
  layers: { name: string; before: string; after: string }[];
  settings: Map<string, string>;
  lineage: [string, string][];
  command: string;
  error: string;
}

export interface Session {
  canPromote: boolean;
  /** MLflow's address; "" where it is not beside this page, as in a notebook. */
  mlflow: string;
}

export interface Promotion {
  promoted: boolean;
  text: string;
}

/** Return the sweeps of the server's store. */
export async function fetchSweeps(): Promise<SweepLine[]> {
  const found = await fetchJson('api/sweeps');
  const lines = Array.isArray(found) ? found : ((found as { sweeps?: unknown }).sweeps ?? []);
  return (lines as Record<string, unknown>[]).map((line) => ({
    name: String(line['name']),
    runId: String(line['run_id']),
    state: String(line['state']),
    n: Number(line['n'] ?? 0),
  }));
}

/** Return the whole sweep of a run. */
export async function fetchSweep(runId: string): Promise<Sweep> {
  const found = await fetchJson(`api/sweeps/${encodeURIComponent(runId)}/snapshot`);
  performance.mark('explorer:data');
  return { ...parseSnapshot(found), runId }; // whatever run a document names, it is of the one that was asked for
}

/** Return the sweep with what has come since; the same object where nothing has. */
export async function fetchChanges(sweep: Sweep): Promise<Sweep> {
  const query = new URLSearchParams({ since: String(sweep.n), revision: sweep.revision });
  const address = `api/sweeps/${encodeURIComponent(sweep.runId)}/snapshot?${query.toString()}`;
  const response = await request(address);
  if (response.status === 304) return sweep;
  const found = (await response.json()) as Record<string, unknown>;
  if (typeof found['since'] !== 'number') return { ...parseSnapshot(found), runId: sweep.runId };
  return withIncrement(sweep, found, found['since']);
}

/** Return a sweep with the rows of an increment's document, whose `is_on_front` is of all rows. */
export function withIncrement(sweep: Sweep, document: Record<string, unknown>, since: number): Sweep {
  const flags = document['is_on_front'];
  if (!Array.isArray(flags) || since > sweep.n || flags.length < since) {
    throw new DocumentError('The news of the sweep cannot be read.', 'The document is cut short.', 'This page tries again by itself.');
  }
  const num = flags.length - since;
  const gained = parseSnapshot({ ...document, n: num, is_on_front: flags.slice(since) }, flags.length);
  if (num === 0 && gained.state === sweep.state && gained.updatedAt === sweep.updatedAt) return sweep;
  return appendRows(sweep, gained, since, Uint8Array.from(flags, (flag) => Number(flag === true || flag === 1)));
}

/** Return a candidate's curves, layers, settings and lineage. */
export async function fetchDetail(runId: string, id: string): Promise<Detail> {
  const address = `api/sweeps/${encodeURIComponent(runId)}/candidates/${encodeURIComponent(id)}`;
  const found = ((await fetchJson(address)) ?? {}) as Record<string, unknown>;
  return {
    curves: new Map(Object.entries(found['curves'] ?? {}).map(([name, points]) => [name, curve(points)])),
    layers: ((found['layers'] ?? []) as Record<string, unknown>[]).map((layer) => ({
      name: written(layer['name']),
      before: shape(layer['before']),
      after: shape(layer['after']),
    })),
    settings: new Map(Object.entries(found['settings'] ?? {}).map(([name, value]) => [name, written(value)])),
    lineage: ((found['lineage'] ?? []) as unknown[]).map(pair),
    command: typeof found['command'] === 'string' ? found['command'] : '',
    error: typeof found['error'] === 'string' ? found['error'] : '',
  };
}

/** Return what this page may do. */
export async function fetchSession(): Promise<Session> {
  const found = (await fetchJson('api/session')) as Record<string, unknown>;
  const beside = new URL('..', location.href);
  return { canPromote: found['can_promote'] === true, mlflow: found['mlflow'] === true ? `${beside.origin}${beside.pathname}`.replace(/\/$/, '') : '' };
}

/** Ask the server to make a candidate the champion of a registered model. */
export async function promote(runId: string, id: string, model: string, token: string): Promise<Promotion> {
  const response = await request(`api/sweeps/${encodeURIComponent(runId)}/promote`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', 'X-Tutelage-Token': token },
    body: JSON.stringify({ id, model, force: false }),
  });
  const found = (await response.json()) as Record<string, unknown>;
  const promoted = found['promoted'] === true;
  const done = `Version ${written(found['version'])} of ${written(found['model'])} is the champion.`;
  return { promoted, text: promoted ? done : written(found['why']) };
}

async function fetchJson(address: string): Promise<unknown> {
  const response = await request(address);
  const text = await response.text();
  try {
    return JSON.parse(text) as unknown;
  } catch {
    throw new DocumentError('The server’s document cannot be read.', 'It is cut short or is no JSON.', 'Reload the page.');
  }
}

async function request(address: string, init: RequestInit = {}): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(address, init);
  } catch {
    throw new DocumentError('The server does not reply.', 'It is stopped or the network is away.', 'This page tries again by itself.');
  }
  if (!response.ok && response.status !== 304) throw await failure(response);
  return response;
}

async function failure(response: Response): Promise<DocumentError> {
  const error = await response.json().then(
    (found) => (found as { error?: Record<string, unknown> }).error,
    () => undefined,
  );
  const status = `The server replied with status ${response.status}.`;
  return new DocumentError(written(error?.['what'] ?? status), written(error?.['why'] ?? ''), written(error?.['way_out'] ?? ''));
}

function curve(points: unknown): [number[], number[]] {
  const pairs = (Array.isArray(points) ? points : []) as [number, number][];
  const valid = pairs.filter((one) => Array.isArray(one) && one.slice(0, 2).every(Number.isFinite));
  return [valid.map(([epoch]) => epoch), valid.map(([, value]) => value)];
}

/** Return a weight's shape as "12 × 64"; "–" for a weight that is not there. */
function shape(value: unknown): string {
  return Array.isArray(value) ? value.map(written).join(' × ') : '–';
}

function pair(value: unknown): [string, string] {
  return Array.isArray(value) ? [written(value[0]), written(value[1])] : ['', written(value)];
}

function written(value: unknown): string {
  return typeof value === 'string' ? value : (JSON.stringify(value) ?? '');
}
