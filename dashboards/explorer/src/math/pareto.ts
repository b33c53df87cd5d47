/**
 * Non-dominated sets over columns of losses, lower is better; the rule is that of `tutelage.pareto`.
 *
 * A row dominates another if it is no worse in every column and better in one, so all of several equal rows are kept.
 */

/** Return the rows sorted lexicographically by their losses. A dominating row always stands before those that it dominates. */
export function lexicographicOrder(losses: Float64Array[]): Uint32Array {
  const [first, ...rest] = losses;
  const order = new Uint32Array(first.length);
  for (let index = 0; index < order.length; index++) order[index] = index;
  return order.sort((a, b) => {
    if (first[a] !== first[b]) return first[a] < first[b] ? -1 : 1;
    for (const loss of rest) {
      if (loss[a] !== loss[b]) return loss[a] < loss[b] ? -1 : 1;
    }
    return a - b;
  });
}

/**
 * Return the non-dominated rows among those with a non-zero `isCandidate`, in the order of `order`.
 *
 * `order` is that of `lexicographicOrder` for the same losses; it is made once, so that a moved limit costs one pass.
 */
export function nonDominated(losses: Float64Array[], order: Uint32Array, isCandidate: Uint8Array): number[] {
  if (losses.length === 2) return ofTwo(losses, order, isCandidate);
  if (losses.length === 3) return ofThree(losses, order, isCandidate);
  return ofMany(losses, order, isCandidate);
}

function ofTwo([first, second]: Float64Array[], order: Uint32Array, isCandidate: Uint8Array): number[] {
  const front: number[] = [];
  let lowest = Infinity;
  let itsFirst = NaN; // of the row that had the lowest second loss first
  for (const row of order) {
    if (!isCandidate[row]) continue;
    const value = second[row];
    if (value < lowest) {
      lowest = value;
      itsFirst = first[row];
      front.push(row);
    } else if (value === lowest && first[row] === itsFirst) {
      front.push(row);
    }
  }
  return front;
}

/** Keeps a staircase of the second and third losses, sorted by the second; along it the third falls. */
function ofThree([first, second, third]: Float64Array[], order: Uint32Array, isCandidate: Uint8Array): number[] {
  const front: number[] = [];
  const stairs: number[] = [];
  for (const row of order) {
    if (!isCandidate[row]) continue;
    const place = upperBound(stairs, second, second[row]);
    const left = place > 0 ? stairs[place - 1] : -1;
    if (left >= 0) {
      const isEqual = second[left] === second[row] && third[left] === third[row];
      if (isEqual ? first[left] < first[row] : third[left] <= third[row]) continue;
      if (isEqual) {
        front.push(row);
        continue;
      }
    }
    front.push(row);
    const start = left >= 0 && second[left] === second[row] ? place - 1 : place;
    let end = start;
    while (end < stairs.length && third[stairs[end]] >= third[row]) end++;
    stairs.splice(start, end - start, row);
  }
  return front;
}

function upperBound(stairs: number[], values: Float64Array, value: number): number {
  let low = 0;
  let high = stairs.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (values[stairs[middle]] <= value) low = middle + 1;
    else high = middle;
  }
  return low;
}

function ofMany(losses: Float64Array[], order: Uint32Array, isCandidate: Uint8Array): number[] {
  const front: number[] = [];
  for (const row of order) {
    if (isCandidate[row] && !front.some((other) => dominates(losses, other, row))) front.push(row);
  }
  return front;
}

function dominates(losses: Float64Array[], row: number, other: number): boolean {
  let isBetter = false;
  for (const loss of losses) {
    if (loss[row] > loss[other]) return false;
    if (loss[row] < loss[other]) isBetter = true;
  }
  return isBetter;
}
