/** The volume that rows of losses dominate up to a reference point; the same number as `tutelage.pareto.hypervolume`. */

import { exclusiveOfThree } from './exclusive';

export type Row = readonly number[];

/** Return the hypervolume of `rows`; one that is not better than `reference` in every loss adds nothing. */
export function hypervolume(rows: readonly Row[], reference: Row): number {
  const inside = rows.filter((row) => row.every((value, axis) => value < reference[axis]));
  if (inside.length === 0) return 0;
  if (reference.length === 1) return reference[0] - Math.min(...inside.map((row) => row[0]));
  return reference.length === 2 ? ofTwo(inside, reference) : bySlices(inside, reference);
}

/** Return for each row of a front what the hypervolume would lose without it; 0 for an equal or an outside one. */
export function contributions(rows: readonly Row[], reference: Row): number[] {
  const last = reference.length - 1;
  const order = rows.map((_, place) => place).sort((a, b) => rows[a][last] - rows[b][last]);
  const sorted = order.map((place) => rows[place]);
  const found = new Array<number>(rows.length).fill(0);
  order.forEach((place, at) => {
    const row = rows[place];
    if (!row.every((value, axis) => value < reference[axis])) return;
    found[place] =
      reference.length === 3
        ? exclusiveOfThree(row, sorted, reference, at)
        : exclusive(row, rows.filter((_, other) => other !== place), reference);
  });
  return found;
}

/** Return what `row` adds to the hypervolume of `others`: its own box without that of the others inside it. */
export function exclusive(row: Row, others: readonly Row[], reference: Row): number {
  const box = row.reduce((volume, value, axis) => volume * (reference[axis] - value), 1);
  const limited = others.map((other) => other.map((value, axis) => Math.max(value, row[axis])));
  return Math.max(0, box - hypervolume(limited, reference));
}

function ofTwo(rows: readonly Row[], [right, top]: Row): number {
  const sorted = [...rows].sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  let volume = 0;
  let lowest = top;
  for (const [x, y] of sorted) {
    if (y < lowest) {
      volume += (right - x) * (lowest - y);
      lowest = y;
    }
  }
  return volume;
}

/** Cuts along the last loss: between two of its values the volume is that of the rows below, over the other losses. */
function bySlices(rows: readonly Row[], reference: Row): number {
  const last = reference.length - 1;
  const sorted = [...rows].sort((a, b) => a[last] - b[last]);
  const below: Row[] = [];
  const smaller = reference.slice(0, last);
  let volume = 0;
  let area = 0;
  sorted.forEach((row, index) => {
    const flat = row.slice(0, last);
    if (!isCovered(below, flat)) {
      area += exclusive(flat, below, smaller);
      insert(below, flat);
    }
    const next = index + 1 < sorted.length ? sorted[index + 1][last] : reference[last];
    volume += area * (next - row[last]);
  });
  return volume;
}

function isCovered(front: readonly Row[], row: Row): boolean {
  for (const other of front) if (isNoWorse(other, row)) return true;
  return false;
}

function isNoWorse(row: Row, other: Row): boolean {
  for (let axis = 0; axis < row.length; axis++) if (row[axis] > other[axis]) return false;
  return true;
}

/** Put a row that none covers into a front sorted by the last loss, without those that it covers. */
function insert(front: Row[], row: Row): void {
  const last = row.length - 1;
  const kept = front.filter((other) => !isNoWorse(row, other));
  const place = kept.findIndex((other) => other[last] > row[last]);
  kept.splice(place < 0 ? kept.length : place, 0, row);
  front.length = 0;
  for (const one of kept) front.push(one);
}

/** The hypervolume as candidates come one by one. */
export class GrowingHypervolume {
  private readonly front: Row[] = [];
  volume = 0;

  constructor(private readonly reference: Row) {}

  /** Add a row and return the volume with it. */
  add(row: Row): number {
    if (row.every((value, axis) => value < this.reference[axis]) && !isCovered(this.front, row)) {
      this.volume +=
        row.length === 3 ? exclusiveOfThree(row, this.front, this.reference, -1) : exclusive(row, this.front, this.reference);
      insert(this.front, row);
    }
    return this.volume;
  }
}
