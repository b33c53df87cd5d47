/** Sliders for limits, what each policy takes under them, and the nearest misses where nothing fits. */

import { column, FINISHED, type Limit, type Measure, type Sweep } from '../data/snapshot';
import { sameLimits, type NearMiss } from '../math/limits';
import type { Choice } from '../math/select';
import { kindOf, padded, shareOf, valueAt, type Kind } from '../math/scale';
import { full, grouped, short } from '../view/format';
import type { Model } from '../view/model';
import { parseQuantity } from '../view/quantity';
import type { Actions, Part } from './app';
import { h, renew, setText } from './dom';
import { valueText } from './scatter';

const STEPS = 400;

export class LimitsPart implements Part {
  readonly element: HTMLElement;
  private readonly sliders = h('div', { class: 'sliders' });
  private readonly choices = h('ul', { class: 'choices', 'aria-label': 'What each policy takes' });
  private readonly summary = h('p', { class: 'summary', role: 'status' });
  private readonly reset: HTMLButtonElement;
  private lines: SliderLine[] = [];
  private model: Model | null = null;
  private shown: readonly Choice[] = [];

  constructor(private readonly actions: Actions) {
    this.reset = h('button', { type: 'button', class: 'quiet-button', onclick: () => { this.toSpec(); } }, 'Back to the spec’s limits');
    this.element = h(
      'section',
      { class: 'card limits', 'aria-labelledby': 'limits-title' },
      h('h2', { id: 'limits-title' }, 'Limits and policies'),
      this.sliders,
      this.summary,
      this.reset,
      this.choices,
    );
  }

  update(model: Model): void {
    const last = this.model;
    this.model = model;
    if (last?.sweep !== model.sweep || !model.view.limits.every((limit) => this.lines.some((line) => line.isOf(limit)))) this.fill(model);
    if (last?.sweep !== model.sweep || last.view.limits !== model.view.limits) {
      for (const line of this.lines) line.show(model.view.limits);
      this.reset.hidden = sameLimits(model.view.limits, model.sweep.limits);
    }
    setText(this.summary, summaryText(model));
    if (this.shown !== model.choices) this.showChoices(model);
  }

  /** Make a line for each objective and cost, and for every other bound that the sweep or the view has. */
  private fill({ sweep, view }: Model): void {
    const usual = [...new Set([...sweep.objectives, ...COSTS])].filter((name) => sweep.values.has(name)).map((measure) => ({ measure, op: usualOp(sweep, measure) }));
    const bounds = [...sweep.limits, ...view.limits].filter(({ measure }) => sweep.measures.has(measure));
    const sides = [...usual, ...bounds].filter((one, place, all) => all.findIndex((other) => isSide(one, other)) === place);
    if (sides.length === this.lines.length && sides.every((one, place) => this.lines[place].isOf(one))) {
      for (const line of this.lines) line.setEnds(sweep);
      return;
    }
    this.lines = sides.map(({ measure, op }) => new SliderLine(sweep, sweep.measures.get(measure)!, op, (value) => { this.set(measure, op, value); }));
    this.sliders.replaceChildren(...this.lines.map((line) => line.element));
  }

  private set(measure: string, op: Limit['op'], value: number | null): void {
    const others = this.model!.view.limits.filter((one) => one.measure !== measure || one.op !== op);
    this.actions.change({ limits: value === null ? others : [...others, { measure, op, value }] });
  }

  private toSpec(): void {
    this.actions.change({ limits: this.model!.sweep.limits });
  }

  private showChoices(model: Model): void {
    this.shown = model.choices;
    renew(this.choices, model.choices.map((choice) => this.choice(model, choice)));
  }

  private choice(model: Model, choice: Choice): HTMLElement {
    const { policy, row } = choice;
    const options = [...policy.options].filter(([, value]) => !isEmpty(value)).map(([name, value]) => `${name} ${JSON.stringify(value)}`);
    const title = h('span', { class: 'policy' }, policy.name, options.length > 0 ? h('span', { class: 'quiet' }, ` ${options.join(', ')}`) : null);
    if (row >= 0) return h('li', { class: 'taken' }, title, this.candidate(model, row, policy.name, primaryText(model, row), this.valuesText(model, row)));
    if (choice.unknown !== '') return h('li', {}, title, h('span', { class: 'quiet' }, choice.unknown));
    if (choice.nearest.length === 0) return h('li', {}, title, h('span', { class: 'quiet' }, policy.reason || 'takes none'));
    const misses = choice.nearest.map((near, place) => h('li', {}, this.candidate(model, near.row, `${policy.name} ${place}`, missText(model, near))));
    return h('li', { class: 'none' }, title, h('span', {}, 'nothing fits; the nearest:'), h('ol', {}, ...misses));
  }

  private candidate(model: Model, row: number, key: string, text: string, title = ''): HTMLElement {
    const id = model.sweep.ids[row];
    const focus = (): void => {
      this.actions.change({ focus: id });
    };
    return h('button', { type: 'button', class: 'candidate', title, 'data-focus': key, onclick: focus }, h('strong', {}, id), ` ${text}`);
  }

  private valuesText(model: Model, row: number): string {
    return model.sweep.objectives.map((name) => valueText(model, name, row)).join(' · ');
  }
}

const COSTS = ['size_bytes', 'params', 'latency_ms', 'macs'];

const isEmpty = (value: unknown): boolean => typeof value === 'object' && value !== null && Object.keys(value).length === 0;

function primaryText({ sweep }: Model, row: number): string {
  return short(sweep.measures.get(sweep.primary)!, column(sweep, sweep.primary)[row]);
}

function missText({ sweep }: Model, near: NearMiss): string {
  const parts = near.misses.map(({ measure, by, limit }) => {
    const described = sweep.measures.get(measure)!;
    if (Number.isNaN(by)) return `${described.label} not measured`;
    const value = sweep.values.get(measure)![near.row];
    return `${described.label} ${short(described, value)}, ${short(described, by)} too ${limit.op === '<=' ? 'much' : 'little'}`;
  });
  return parts.join('; ');
}

function summaryText(model: Model): string {
  const finished = model.sweep.states.reduce((sum, state) => sum + Number(state === FINISHED), 0);
  return `${grouped(model.numFitting)} of ${grouped(finished)} finished candidates meet the limits; ${grouped(model.front.length)} are on the front.`;
}

type Side = Pick<Limit, 'measure' | 'op'>;

const isSide = (one: Side, other: Side): boolean => one.measure === other.measure && one.op === other.op;

/** Return the side on which people bound a measure: an upper bound where lower is better, else a lower bound. */
function usualOp(sweep: Sweep, measure: string): Limit['op'] {
  return sweep.measures.get(measure)!.direction === 'minimise' ? '<=' : '>=';
}

/** A slider and a field for one bound of a measure. */
class SliderLine {
  readonly element: HTMLElement;
  private readonly slider: HTMLInputElement;
  private readonly field: HTMLInputElement;
  private ends: [number, number] = [0, 1];
  private readonly isUpper: boolean;
  private readonly kind: Kind;

  constructor(
    sweep: Sweep,
    readonly measure: Measure,
    private readonly op: Limit['op'],
    private readonly set: (value: number | null) => void,
  ) {
    this.isUpper = op === '<=';
    this.kind = kindOf(measure, measure.scale === 'log10' || measure.scale === 'neg_log10_error');
    const name = `${measure.label}, ${this.isUpper ? 'at most' : 'at least'}`;
    this.slider = h('input', { type: 'range', min: 0, max: STEPS, 'aria-label': name, oninput: () => { this.slide(); } });
    this.field = h('input', { type: 'text', inputmode: 'decimal', 'aria-label': `${name}, exact`, placeholder: 'no limit', onchange: () => { this.write(); } });
    this.element = h('div', { class: 'slider' }, h('span', { class: 'slider-name' }, `${measure.label} ${this.isUpper ? '≤' : '≥'}`), this.field, this.slider);
    this.setEnds(sweep);
  }

  setEnds(sweep: Sweep): void {
    const values = column(sweep, this.measure.name);
    this.ends = padded(values.filter((_, row) => sweep.states[row] === FINISHED), this.kind, 0);
  }

  isOf(side: Side): boolean {
    return isSide(side, { measure: this.measure.name, op: this.op });
  }

  show(limits: readonly Limit[]): void {
    const own = limits.find((limit) => this.isOf(limit));
    const free = this.isUpper ? STEPS : 0;
    const place = own ? String(Math.round(this.share(own.value) * STEPS)) : String(free);
    if (document.activeElement !== this.slider || !own) this.slider.value = place;
    this.slider.setAttribute('aria-valuetext', own ? short(this.measure, own.value) : 'no limit');
    if (document.activeElement !== this.field) this.field.value = own ? full(this.measure, own.value) : '';
    this.element.classList.toggle('is-set', own !== undefined);
  }

  private share(value: number): number {
    const [low, high] = this.ends;
    if (high === low) return 1;
    return Math.max(0, Math.min(1, shareOf({ kind: this.kind, low, high }, value) || 0));
  }

  private slide(): void {
    const place = Number(this.slider.value);
    const isFree = place === (this.isUpper ? STEPS : 0);
    const [low, high] = this.ends;
    const value = valueAt({ kind: this.kind, low, high }, place / STEPS);
    this.set(isFree ? null : Number(value.toPrecision(4)));
  }

  private write(): void {
    const text = this.field.value.replaceAll(',', '').trim();
    const value = parseQuantity(text);
    this.field.setAttribute('aria-invalid', String(text !== '' && Number.isNaN(value)));
    if (text === '') this.set(null);
    else if (!Number.isNaN(value)) this.set(value);
  }
}
