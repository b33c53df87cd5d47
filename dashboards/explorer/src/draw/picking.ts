/** Finds the mark nearest to a pixel, by cells of a grid. */

const CELL = 16;

export class Picker {
  private readonly cells = new Map<number, number[]>();

  constructor(
    private readonly xs: Float32Array,
    private readonly ys: Float32Array,
    rows: Iterable<number>,
  ) {
    for (const row of rows) {
      if (Number.isNaN(xs[row] + ys[row])) continue;
      const key = keyOf(xs[row], ys[row]);
      const cell = this.cells.get(key);
      if (cell) cell.push(row);
      else this.cells.set(key, [row]);
    }
  }

  /** Return the row within `reach` pixels (at most a cell's side); a `preferred` one counts as half as far. -1 without. */
  nearest(x: number, y: number, reach: number, isPreferred: (row: number) => boolean): number {
    let found = -1;
    let least = reach;
    for (let dy = -CELL; dy <= CELL; dy += CELL) {
      for (let dx = -CELL; dx <= CELL; dx += CELL) {
        for (const row of this.cells.get(keyOf(x + dx, y + dy)) ?? []) {
          const distance = Math.hypot(this.xs[row] - x, this.ys[row] - y);
          const counted = distance * (isPreferred(row) ? 0.5 : 1);
          if (distance <= reach && counted < least) [found, least] = [row, counted];
        }
      }
    }
    return found;
  }
}

function keyOf(x: number, y: number): number {
  return Math.floor(y / CELL) * 65536 + Math.floor(x / CELL);
}
