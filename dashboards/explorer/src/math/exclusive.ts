/** What one row of three losses adds to the hypervolume of others, without making a set of limited rows for it. */

import type { Row } from './hypervolume';

/**
 * Return the volume up to `reference` that `row` alone dominates beside `others`, which are sorted by the third loss.
 *
 * The row's box is cut along the third loss. Between two cuts the area that it alone dominates is bounded by others that are
 * better in the first loss (`top`), by others that are better in the second (`right`), and by those inside, a staircase.
 * `skipped` is the row's own place among the others, or -1.
 */
export function exclusiveOfThree(row: Row, others: readonly Row[], reference: Row, skipped: number): number {
  const [x, y, z] = row;
  let [right, top, level, volume] = [reference[0], reference[1], z, 0];
  let inside: [number, number][] = [];
  let area = -1; // to be computed again
  for (let place = 0; place < others.length; place++) {
    const other = others[place];
    if (place === skipped || other[0] >= right || other[1] >= top || other[2] >= reference[2]) continue;
    if (other[2] > level) {
      area = area < 0 ? areaOf(x, y, right, top, inside) : area;
      volume += area * (other[2] - level);
      level = other[2];
    }
    area = -1;
    if (other[0] <= x && other[1] <= y) return volume;
    if (other[0] <= x) top = other[1];
    else if (other[1] <= y) right = other[0];
    else inside.push([other[0], other[1]]);
    if (inside.length > 64) inside = stairs(inside, right, top);
  }
  return volume + areaOf(x, y, right, top, inside) * (reference[2] - level);
}

/** Keep of the points inside those that no other one dominates, sorted by the first loss. */
function stairs(inside: [number, number][], right: number, top: number): [number, number][] {
  const sorted = inside.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  const kept: [number, number][] = [];
  let lowest = top;
  for (const point of sorted) {
    if (point[0] < right && point[1] < lowest) {
      kept.push(point);
      lowest = point[1];
    }
  }
  return kept;
}

function areaOf(x: number, y: number, right: number, top: number, inside: [number, number][]): number {
  let [area, left, height] = [0, x, top];
  for (const [nextX, nextY] of inside.length > 0 ? stairs(inside, right, top) : inside) {
    area += (nextX - left) * (height - y);
    [left, height] = [nextX, nextY];
  }
  return area + (right - left) * (height - y);
}
