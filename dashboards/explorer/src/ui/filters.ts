/** The filtered ranges as fields, for the keyboard: what dragging does in the picture and on parallel coordinates. */

import { padded } from '../math/scale';
import { axisLabel } from '../view/format';
import { dimension, type Model } from '../view/model';
import type { Range } from '../view/view';
import { parseQuantity } from '../view/quantity';
import type { Actions, Part } from './app';
import { focusOn, h, renew } from './dom';

export class FiltersPart implements Part {
  readonly element: HTMLElement;
  private readonly list = h('ul', { class: 'chips' });
  private readonly add: HTMLSelectElement;
  private model: Model | null = null;
  private shown = '';
  private options = '';

  constructor(private readonly actions: Actions) {
    this.add = h('select', { 'aria-label': 'Filter by', onchange: () => { this.start(this.add.value); } });
    this.element = h('div', { class: 'filters', role: 'group', 'aria-label': 'Filter' }, this.add, this.list);
  }

  update(model: Model): void {
    this.model = model;
    const names = [...model.sweep.measures.keys()].filter((name) => model.sweep.values.has(name));
    const keys = [...names, ...model.sweep.settings.map(({ name }) => `config:${name}`)];
    if (keys.join() !== this.options) {
      this.options = keys.join();
      this.add.replaceChildren(h('option', { value: '' }, 'Filter by…'), ...keys.map((key) => h('option', { value: key }, labelOf(model, key))));
    }
    const now = JSON.stringify([...model.view.brush]);
    if (now === this.shown) return;
    this.shown = now;
    this.show(model);
  }

  private show(model: Model): void {
    renew(this.list, [...model.view.brush].map(([key, range]) => this.chip(model, key, range)));
  }

  private chip(model: Model, key: string, [low, high]: Range): HTMLElement {
    const label = labelOf(model, key);
    const field = (end: 'from' | 'to', value: number): HTMLInputElement => {
      const input = h('input', { type: 'text', inputmode: 'decimal', value, 'data-focus': `${key} ${end}`, 'aria-label': `${label}, ${end}` });
      input.addEventListener('change', () => {
        const parsed = parseQuantity(input.value);
        input.setAttribute('aria-invalid', String(Number.isNaN(parsed)));
        if (!Number.isNaN(parsed)) this.set(key, end === 'from' ? [parsed, Math.max(parsed, high)] : [Math.min(low, parsed), parsed]);
      });
      return input;
    };
    const remove = h('button', { type: 'button', class: 'quiet-button', 'aria-label': `Remove the filter on ${label}`, onclick: () => { this.set(key, null); } }, '×');
    return h('li', {}, h('span', {}, label), field('from', low), '–', field('to', high), remove);
  }

  private start(key: string): void {
    this.add.value = '';
    if (key === '' || !this.model) return;
    const [low, high] = padded(dimension(this.model.sweep, key), 'linear', 0);
    this.set(key, [low, high]);
    focusOn(this.list, `${key} from`);
  }

  private set(key: string, range: Range | null): void {
    const brush = new Map(this.model!.view.brush);
    if (range) brush.set(key, range);
    else brush.delete(key);
    this.actions.change({ brush });
  }
}

function labelOf(model: Model, key: string): string {
  const measure = model.sweep.measures.get(key);
  return measure ? axisLabel(measure) : key.slice('config:'.length);
}
