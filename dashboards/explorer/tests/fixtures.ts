/** The files that `tests/dashboard/explorer_fixtures.py` writes from the package's own functions. */

import { readFileSync } from 'node:fs';
import { parseSnapshot } from '../src/data/parse';
import type { Limit, Sweep } from '../src/data/snapshot';

export interface FrontCase {
  losses: number[][];
  num_objectives: number;
  reference: number[];
  is_on_front: boolean[];
  hypervolume: number;
  contributions: number[];
}

export interface SelectionCase {
  limits: Limit[];
  choices: { policy: string; options: Record<string, unknown>; takes: string | null; nearest: string[] }[];
  front: string[];
}

export function read(name: string): unknown {
  return JSON.parse(readFileSync(new URL(`fixtures/${name}`, import.meta.url), 'utf8'));
}

export const fronts = (): FrontCase[] => read('fronts.json') as FrontCase[];

export function selections(name: string): { document: Record<string, unknown>; sweep: Sweep; cases: SelectionCase[] } {
  const found = read(name) as { snapshot: Record<string, unknown>; cases: SelectionCase[] };
  return { document: found.snapshot, sweep: parseSnapshot(found.snapshot), cases: found.cases };
}

/** Return columns (one an objective) of rows of losses. */
export function columnsOf(rows: number[][], num: number): Float64Array[] {
  return Array.from({ length: num }, (_, axis) => Float64Array.from(rows, (row) => row[axis]));
}
