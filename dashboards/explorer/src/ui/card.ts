/** One candidate: its measures, settings, layers, lineage, and the command that makes it again. */

import type { Detail, Session } from '../data/api';
import { FINISHED, knownColumn, type Measure, type Sweep } from '../data/snapshot';
import { full, labelWithUnit, settingText } from '../view/format';
import { namesByRow } from '../draw/picture';
import { stateText, type Model } from '../view/model';
import type { Actions, Part } from './app';
import { h, renew, safeLink } from './dom';
import { toggled } from './scatter';

export class CardPart implements Part {
  readonly element = h('section', { class: 'card candidate-card', 'aria-labelledby': 'card-title' });
  private readonly facts = h('div');
  private detail: HTMLElement | null = null;
  private model: Model | null = null;
  private shown: unknown[] = [];
  session: Session = { canPromote: false, mlflow: '' };

  constructor(private readonly actions: Actions) {
    this.element.append(this.facts);
  }

  update(model: Model): void {
    const { view, sweep } = model;
    const row = model.rowOf.get(view.focus) ?? -1;
    const now = [view.focus, view.chosen, sweep, model.classes, model.choices, this.session];
    if (now.every((value, place) => value === this.shown[place]) && this.shown.length > 0) return;
    const isSame = this.shown[0] === view.focus && this.shown[2] === sweep && this.shown[5] === this.session;
    this.shown = now;
    this.model = model;
    renew(this.facts, row < 0 ? empty(view.focus) : this.content(model, row));
    if (!isSame) this.showDetail(row < 0 ? null : sweep.ids[row]);
  }

  private content(model: Model, row: number): HTMLElement[] {
    const { sweep } = model;
    const policies = namesByRow(model).get(row) ?? [];
    const badges = [stateText(model, row), ...(sweep.isInherited[row] ? ['inherited'] : []), ...(sweep.champion === row ? ['selected'] : [])];
    return [
      h('h2', { id: 'card-title' }, sweep.ids[row]),
      h('p', { class: 'badges' }, ...badges.map((text) => h('span', { class: 'badge' }, text)), ...policies.map((name) => h('span', { class: 'badge choice' }, name))),
      this.buttons(model, row),
      this.values(model, row),
      ...this.settings(model, row),
    ];
  }

  private buttons(model: Model, row: number): HTMLElement {
    const { sweep, view } = model;
    const isChosen = view.chosen.includes(sweep.ids[row]);
    const compare = (): void => {
      const { chosen, focus } = this.model!.view;
      this.actions.change({ chosen: toggled(chosen, focus) });
    };
    const parts = [h('button', { type: 'button', 'data-focus': 'compare', 'aria-pressed': isChosen, onclick: compare }, isChosen ? 'Compared' : 'Compare')];
    const address = sweep.runLink.replace('{experiment_id}', encodeURIComponent(sweep.experimentId)).replace('{run_id}', encodeURIComponent(sweep.runIds[row]));
    const link = sweep.runLink !== '' && sweep.runIds[row] !== '' ? safeLink(address) : null;
    const run = link ? [h('a', { class: 'button', href: link, 'data-focus': 'run' }, 'Run in MLflow')] : [];
    const parent = sweep.parent[row] >= 0 ? [this.parent(sweep.ids[sweep.parent[row]])] : [];
    if (this.session.canPromote) parts.push(h('button', { type: 'button', class: 'strong', 'data-focus': 'promote', onclick: () => { this.actions.promote(this.model!.view.focus); } }, 'Promote…'));
    return h('div', { class: 'row' }, ...parts, ...run, ...parent);
  }

  private parent(id: string): HTMLElement {
    return h('button', { type: 'button', 'data-focus': 'parent', onclick: () => { this.actions.change({ focus: id }); } }, `Parent ${id}`);
  }

  private values({ sweep }: Model, row: number): HTMLElement {
    const names = [...new Set([...sweep.objectives, ...sweep.measures.keys()])].filter((name) => !Number.isNaN(knownColumn(sweep, name)[row]));
    const lines = names.map((name) => {
      const measure = sweep.measures.get(name)!;
      const isPartial = name === sweep.primary && sweep.states[row] !== FINISHED;
      const label = `${labelWithUnit(measure)}${isPartial ? ', after its last epoch' : ''}`;
      return h('div', { title: measure.meaning }, h('dt', {}, label), h('dd', {}, full(measure, knownColumn(sweep, name)[row]), interval(sweep, measure, row)));
    });
    return h('dl', { class: 'values' }, ...lines);
  }

  private settings({ sweep }: Model, row: number): HTMLElement[] {
    const active = sweep.settings.filter((setting) => !Number.isNaN(setting.values[row]));
    if (active.length === 0) return [];
    const lines = active.map((setting) => h('div', {}, h('dt', {}, setting.name), h('dd', {}, settingText(setting, setting.values[row]))));
    return [h('h3', {}, 'Settings'), h('dl', { class: 'values' }, ...lines)];
  }

  private showDetail(id: string | null): void {
    this.detail?.remove();
    this.detail = null;
    if (id === null) return;
    const place = h('div', { class: 'detail' }, h('p', { class: 'quiet' }, 'Loading its layers and lineage…'));
    this.detail = place;
    this.element.append(place);
    this.actions.detail(id).then(
      (detail) => {
        place.replaceChildren(...detailParts(detail, this.session.mlflow));
      },
      (error: unknown) => {
        place.replaceChildren(h('p', { class: 'quiet' }, error instanceof Error ? error.message : String(error)));
      },
    );
  }
}

/** Return the ends of a candidate's interval, with the mean and the number of the fresh seeds whose interval it is. */
function interval(sweep: Sweep, measure: Measure, row: number): HTMLElement | null {
  const [low, high, mean] = [sweep.low, sweep.high, sweep.mean].map((columns) => columns.get(measure.name)?.[row] ?? NaN);
  const ends = Number.isNaN(low + high) ? '' : `${full(measure, low)} to ${full(measure, high)}`;
  const seeds = Number.isNaN(mean) ? '' : `${sweep.seeds[row]} fresh ${sweep.seeds[row] === 1 ? 'seed' : 'seeds'}: ${full(measure, mean)}`;
  const text = [seeds, ends].filter((part) => part !== '').join(', ');
  return text === '' ? null : h('span', { class: 'quiet' }, ` ${text}`);
}

function empty(focus: string): HTMLElement[] {
  const text = focus === '' ? 'Click a point, or walk the front with the arrow keys.' : `This sweep has no candidate ${focus}.`;
  return [h('h2', { id: 'card-title' }, 'Candidate'), h('p', { class: 'quiet' }, text)];
}

function detailParts(detail: Detail, mlflow: string): HTMLElement[] {
  const parts: HTMLElement[] = [];
  if (detail.error !== '') parts.push(h('h3', {}, 'Error'), h('pre', {}, detail.error));
  if (detail.layers.length > 0) {
    const lines = detail.layers.map((layer) => h('tr', {}, h('th', { scope: 'row' }, layer.name), h('td', { class: 'number' }, layer.before), h('td', { class: 'number' }, layer.after)));
    const head = h('tr', {}, h('th', { scope: 'col' }, 'layer'), h('th', { scope: 'col', class: 'number' }, 'before'), h('th', { scope: 'col', class: 'number' }, 'after'));
    parts.push(h('h3', {}, 'Layers before and after removal'), h('div', { class: 'wide' }, h('table', {}, h('thead', {}, head), h('tbody', {}, ...lines))));
  }
  if (detail.lineage.length > 0) {
    const lines = detail.lineage.map(([name, value]) => h('div', {}, h('dt', {}, name), h('dd', {}, value)));
    parts.push(h('h3', {}, 'Lineage'), h('dl', { class: 'values' }, ...lines));
  }
  if (detail.command !== '') parts.push(h('h3', {}, 'Command'), command(located(detail.command, mlflow)));
  return parts;
}

/** Return a command that begins with MLflow's, with the address of this MLflow, so that it runs in any shell. */
function located(command: string, mlflow: string): string {
  return mlflow !== '' && command.startsWith('mlflow ') ? `MLFLOW_TRACKING_URI=${mlflow} ${command}` : command;
}

function command(text: string): HTMLElement {
  const button = h('button', { type: 'button', class: 'quiet-button' }, 'Copy');
  button.addEventListener('click', () => {
    navigator.clipboard.writeText(text).then(
      () => { button.textContent = 'Copied'; },
      () => { button.textContent = 'Select it by hand: the browser does not allow copying'; },
    );
  });
  return h('div', { class: 'command' }, h('code', {}, text), button);
}
