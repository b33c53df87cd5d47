/** A sweep under a view: which rows are on the front, which are shown, what each policy takes. Each part is made once. */

import { column, FINISHED, knownColumn, STATES, type Sweep } from '../data/snapshot';
import { fits, sameLimits } from '../math/limits';
import { Fronts, type Choice } from '../math/select';
import { shownMeasures, type View } from './view';

/** How a row is drawn; the order is that of drawing. */
export const CLASSES = ['hidden', 'dominated', 'infeasible', 'stopped', 'front'] as const;
export const [HIDDEN, DOMINATED, INFEASIBLE, STOPPED, ON_FRONT] = [0, 1, 2, 3, 4];

const STOPPED_STATES = new Set<number>([STATES.indexOf('stopped'), STATES.indexOf('failed')]);

export interface Model {
  sweep: Sweep;
  view: View;
  /** The rows on the front over the shown axes, by the x value. */
  front: readonly number[];
  /** Whether that is the front over all objectives under the sweep's own constraints, which the server has too. */
  isServers: boolean;
  /** For each row one of `CLASSES`, before brushing. */
  classes: Uint8Array;
  /** For each row whether it lies in all brushed ranges. */
  isBrushed: Uint8Array;
  choices: readonly Choice[];
  numFitting: number;
  rowOf: ReadonlyMap<string, number>;
}

/** Makes models, and keeps from the last one what a changed view leaves as it was. */
export class ModelMaker {
  private readonly fronts: Fronts;
  private readonly rowOf: ReadonlyMap<string, number>;
  private last: Model | null = null;

  constructor(private readonly sweep: Sweep) {
    this.fronts = new Fronts(sweep);
    this.rowOf = new Map(sweep.ids.map((id, row) => [id, row]));
  }

  make(view: View): Model {
    const { sweep, last } = this;
    const measures = shownMeasures(view);
    const isSame = last?.view.limits === view.limits;
    const hasSameFront = isSame && shownMeasures(last.view).join(' ') === measures.join(' ');
    const front = hasSameFront ? last.front : this.frontByX(view, measures);
    const hasSameClasses = hasSameFront && last.view.layers === view.layers;
    const shown = hasSameClasses ? last : classesOf(sweep, view, front);
    const model: Model = {
      sweep,
      view,
      front,
      isServers: sameLimits(view.limits, sweep.constraints) && [...sweep.objectives].sort().join() === [...measures].sort().join(),
      classes: shown.classes,
      numFitting: shown.numFitting,
      isBrushed: last?.view.brush === view.brush ? last.isBrushed : brushed(sweep, view),
      choices: isSame ? last.choices : this.fronts.choices(view.limits),
      rowOf: this.rowOf,
    };
    this.last = model;
    return model;
  }

  private frontByX(view: View, measures: string[]): number[] {
    const x = column(this.sweep, view.x);
    return this.fronts.front(measures, view.limits).sort((a, b) => x[a] - x[b] || a - b);
  }
}

function classesOf(sweep: Sweep, view: View, front: readonly number[]): { classes: Uint8Array; numFitting: number } {
  const { layers } = view;
  const isFitting = fits(sweep, view.limits, []);
  const [dominated, infeasible, stopped] = [
    layers.has('dominated') ? DOMINATED : HIDDEN,
    layers.has('infeasible') ? INFEASIBLE : HIDDEN,
    layers.has('stopped') ? STOPPED : HIDDEN,
  ];
  const classes = new Uint8Array(sweep.n);
  let numFitting = 0;
  for (let row = 0; row < sweep.n; row++) {
    numFitting += isFitting[row];
    classes[row] = isFitting[row] ? dominated : STOPPED_STATES.has(sweep.states[row]) ? stopped : infeasible;
  }
  for (const row of front) classes[row] = ON_FRONT;
  return { classes, numFitting };
}

function brushed(sweep: Sweep, view: View): Uint8Array {
  const found = new Uint8Array(sweep.n).fill(1);
  for (const [name, [low, high]] of view.brush) {
    const values = dimension(sweep, name);
    for (let row = 0; row < sweep.n; row++) found[row] &= Number(values[row] >= low && values[row] <= high);
  }
  return found;
}

/** Return the column of a dimension: a measure's name, or `config:` and a setting's. */
export function dimension(sweep: Sweep, name: string): Float64Array {
  if (!name.startsWith('config:')) return knownColumn(sweep, name);
  const setting = sweep.settings.find((one) => one.name === name.slice('config:'.length));
  return setting?.values ?? new Float64Array(sweep.n).fill(NaN);
}

/** Return the rows that the view shows: those of a drawn class inside the brushed ranges. */
export function visibleRows(model: Model): Uint32Array {
  const { classes, isBrushed } = model;
  let num = 0;
  for (let row = 0; row < classes.length; row++) num += Number(classes[row] !== HIDDEN && isBrushed[row] !== 0);
  const rows = new Uint32Array(num);
  let place = 0;
  for (let row = 0; row < classes.length; row++) if (classes[row] !== HIDDEN && isBrushed[row]) rows[place++] = row;
  return rows;
}

/** Return a row's state in words. */
export function stateText(model: Model, row: number): string {
  const state = STATES[model.sweep.states[row]];
  if (model.sweep.states[row] !== FINISHED) return state;
  if (model.front.includes(row)) return 'front';
  return model.classes[row] === INFEASIBLE || !fitsLimits(model, row) ? 'misses a limit' : 'dominated';
}

function fitsLimits({ sweep, view }: Model, row: number): boolean {
  return view.limits.every(({ measure, op, value }) => {
    const own = sweep.values.get(measure)?.[row] ?? NaN;
    return op === '<=' ? own <= value : own >= value;
  });
}
