/** The learning curves of the compared candidates. */

import type uPlot from 'uplot';
import type { Detail } from '../data/api';
import { compact, full } from '../view/format';
import type { Model } from '../view/model';
import type { Actions, Part } from './app';
import { lineChart } from './chart';
import { h, renew, setText } from './dom';
import { chosenColour } from './scatter';

type Points = [number[], number[]];

export class CurvesPart implements Part {
  readonly element: HTMLElement;
  private readonly note = h('p', { class: 'summary' });
  private readonly select: HTMLSelectElement;
  private readonly chips = h('ul', { class: 'chips' });
  private readonly place = h('div', { class: 'chart', role: 'img', 'aria-label': 'Learning curves' });
  private chart: uPlot | null = null;
  private details = new Map<string, Detail>();
  private shown: unknown[] = [];
  private model: Model | null = null;

  constructor(private readonly actions: Actions) {
    this.select = h('select', { onchange: () => { this.draw(); } });
    this.element = h(
      'section',
      { class: 'card', 'aria-labelledby': 'curves-title' },
      h('div', { class: 'title-row' }, h('h2', { id: 'curves-title' }, 'Learning curves'), h('label', {}, h('span', {}, 'Curve'), this.select)),
      this.note,
      this.chips,
      this.place,
    );
    new ResizeObserver(() => { this.chart?.setSize({ width: this.place.clientWidth, height: 230 }); }).observe(this.place);
  }

  update(model: Model): void {
    this.model = model;
    const now = [model.view.chosen, model.sweep.runId];
    if (now.every((value, place) => value === this.shown[place]) && this.shown.length > 0) return;
    this.shown = now;
    renew(this.chips, model.view.chosen.map((id, place) => this.chip(id, place)));
    void this.load(model.view.chosen, now);
  }

  recolour(): void {
    this.draw();
  }

  private chip(id: string, place: number): HTMLElement {
    const swatch = h('span', { class: 'swatch', 'aria-hidden': 'true' });
    swatch.style.background = chosenColour(place);
    const remove = (): void => {
      this.actions.change({ chosen: this.model!.view.chosen.filter((one) => one !== id) });
    };
    return h('li', {}, swatch, h('span', {}, id), h('button', { type: 'button', class: 'quiet-button', 'aria-label': `Compare ${id} no longer`, onclick: remove }, '×'));
  }

  private async load(ids: readonly string[], now: unknown[]): Promise<void> {
    setText(this.note, ids.length === 0 ? 'Compare candidates: Space in the picture or the table, or the card’s button.' : '');
    const loaded = await Promise.allSettled(ids.map((id) => this.actions.detail(id)));
    if (now !== this.shown) return;
    this.details = new Map();
    loaded.forEach((one, place) => {
      if (one.status === 'fulfilled') this.details.set(ids[place], one.value);
      else setText(this.note, one.reason instanceof Error ? one.reason.message : String(one.reason));
    });
    this.fill();
    this.draw();
  }

  private fill(): void {
    const names = [...new Set([...this.details.values()].flatMap((detail) => [...detail.curves.keys()]))];
    const before = this.select.value;
    this.select.replaceChildren(...names.map((name) => h('option', { value: name }, this.model?.sweep.measures.get(name)?.label ?? name)));
    const primary = this.model?.sweep.primary ?? '';
    this.select.value = names.includes(before) ? before : names.includes(primary) ? primary : (names[0] ?? '');
  }

  private draw(): void {
    this.chart?.destroy();
    this.chart = null;
    const name = this.select.value;
    const curves = [...this.details].flatMap(([id, detail]) => {
      const points = detail.curves.get(name);
      return points && points[0].length > 0 ? [{ id, points }] : [];
    });
    if (curves.length === 0 || !this.model) return;
    const measure = this.model.sweep.measures.get(name);
    const chosen = this.model.view.chosen;
    const lines = curves.map(({ id }) => ({ label: id, colour: chosenColour(chosen.indexOf(id)), isStepped: false, dash: [] }));
    const text = (value: number): string => (measure ? full(measure, value) : compact(value));
    this.place.setAttribute('aria-label', curves.map(({ id, points }) => `${id}: ${name} ends at ${text(points[1][points[1].length - 1])}`).join('; '));
    this.chart = lineChart(this.place, joined(curves.map(({ points }) => points)), lines, { xLabel: 'epoch', isTime: false, yText: compact });
  }
}

/** Return the curves as columns over all their epochs. */
export function joined(curves: readonly Points[]): [number[], ...(number | null)[][]] {
  const epochs = [...new Set(curves.flatMap(([xs]) => xs))].sort((a, b) => a - b);
  return [epochs, ...curves.map(([xs, ys]) => epochs.map((epoch) => (xs.includes(epoch) ? ys[xs.indexOf(epoch)] : null)))];
}
