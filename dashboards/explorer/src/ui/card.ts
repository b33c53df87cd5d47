/** One candidate: its measures, settings, layers, lineage, and the command that makes it again. */

import type { Detail } from '../data/api';
import { axisLabel, full, settingText } from '../view/format';
import { namesByRow } from '../draw/picture';
import { stateText, type Model } from '../view/model';
import type { Actions, Part } from './app';
import { h, safeLink } from './dom';
import { toggled } from './scatter';

export class CardPart implements Part {
  readonly element = h('section', { class: 'card candidate-card', 'aria-labelledby': 'card-title' });
  private shown: unknown[] = [];
  canPromote = false;

  constructor(private readonly actions: Actions) {}

  update(model: Model): void {
    const { view, sweep } = model;
    const row = model.rowOf.get(view.focus) ?? -1;
    const now = [view.focus, view.chosen, sweep, model.classes, model.choices, this.canPromote];
    if (now.every((value, place) => value === this.shown[place]) && this.shown.length > 0) return;
    const isSame = this.shown[0] === view.focus && this.shown[2] === sweep;
    this.shown = now;
    const focused = this.element.contains(document.activeElement) ? document.activeElement!.getAttribute('data-action') : null;
    const details = isSame ? this.element.querySelector('.detail') : null;
    this.element.replaceChildren(...(row < 0 ? empty(view.focus) : this.content(model, row)));
    if (row >= 0) this.element.append(details ?? this.detail(sweep.ids[row]));
    if (focused) this.element.querySelector<HTMLElement>(`[data-action="${focused}"]`)?.focus();
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
    const id = sweep.ids[row];
    const isChosen = view.chosen.includes(id);
    const compare = (): void => {
      this.actions.change({ chosen: toggled(view.chosen, id) });
    };
    const parts = [h('button', { type: 'button', 'data-action': 'compare', 'aria-pressed': isChosen, onclick: compare }, isChosen ? 'Compared' : 'Compare')];
    const address = sweep.runLink.replace('{experiment_id}', encodeURIComponent(sweep.experimentId)).replace('{run_id}', encodeURIComponent(sweep.runIds[row]));
    const link = sweep.runLink !== '' && sweep.runIds[row] !== '' ? safeLink(address) : null;
    const run = link ? [h('a', { class: 'button', href: link, 'data-action': 'run' }, 'Run in MLflow')] : [];
    const parent = sweep.parent[row] >= 0 ? [this.parent(sweep.ids[sweep.parent[row]])] : [];
    if (this.canPromote) parts.push(h('button', { type: 'button', class: 'strong', 'data-action': 'promote', onclick: () => { this.actions.promote(id); } }, 'Promote…'));
    return h('div', { class: 'row' }, ...parts, ...run, ...parent);
  }

  private parent(id: string): HTMLElement {
    return h('button', { type: 'button', 'data-action': 'parent', onclick: () => { this.actions.change({ focus: id }); } }, `Parent ${id}`);
  }

  private values({ sweep }: Model, row: number): HTMLElement {
    const names = [...new Set([...sweep.objectives, ...sweep.measures.keys()])].filter((name) => !Number.isNaN(sweep.values.get(name)?.[row] ?? NaN));
    const lines = names.map((name) => {
      const measure = sweep.measures.get(name)!;
      const [low, high] = [sweep.low.get(name)?.[row] ?? NaN, sweep.high.get(name)?.[row] ?? NaN];
      const interval = Number.isNaN(low + high) ? null : h('span', { class: 'quiet' }, ` ${full(measure, low)} to ${full(measure, high)}${seedsText(sweep.seeds[row])}`);
      return h('div', { title: measure.meaning }, h('dt', {}, axisLabel(measure)), h('dd', {}, full(measure, sweep.values.get(name)![row]), interval));
    });
    return h('dl', { class: 'values' }, ...lines);
  }

  private settings({ sweep }: Model, row: number): HTMLElement[] {
    const active = sweep.settings.filter((setting) => !Number.isNaN(setting.values[row]));
    if (active.length === 0) return [];
    const lines = active.map((setting) => h('div', {}, h('dt', {}, setting.name), h('dd', {}, settingText(setting, setting.values[row]))));
    return [h('h3', {}, 'Settings'), h('dl', { class: 'values' }, ...lines)];
  }

  private detail(id: string): HTMLElement {
    const place = h('div', { class: 'detail' }, h('p', { class: 'quiet' }, 'Loading its layers and lineage…'));
    this.actions.detail(id).then(
      (detail) => {
        place.replaceChildren(...detailParts(detail));
      },
      (error: unknown) => {
        place.replaceChildren(h('p', { class: 'quiet' }, error instanceof Error ? error.message : String(error)));
      },
    );
    return place;
  }
}

const seedsText = (seeds: number): string => (seeds > 0 ? `, ${seeds} fresh ${seeds === 1 ? 'seed' : 'seeds'}` : '');

function empty(focus: string): HTMLElement[] {
  const text = focus === '' ? 'Click a point, or walk the front with the arrow keys.' : `This sweep has no candidate ${focus}.`;
  return [h('h2', { id: 'card-title' }, 'Candidate'), h('p', { class: 'quiet' }, text)];
}

function detailParts(detail: Detail): HTMLElement[] {
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
  if (detail.command !== '') parts.push(h('h3', {}, 'Command'), command(detail.command));
  return parts;
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
