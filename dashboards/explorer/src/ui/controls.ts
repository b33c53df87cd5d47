/** The axes, and what is drawn. */

import type { Model } from '../view/model';
import { LAYERS, type Layer } from '../view/view';
import type { Actions, Part } from './app';
import { h } from './dom';

const LABELS: Record<Layer, string> = {
  dominated: 'Dominated',
  infeasible: 'Outside the limits',
  stopped: 'Stopped and failed',
  baselines: 'Baselines',
  bars: 'Error bars',
  ladders: 'Ladders',
  choices: 'Policies’ choices',
};

export class ControlsPart implements Part {
  readonly element = h('div', { class: 'controls' });
  private readonly selects = new Map<'x' | 'y' | 'z', HTMLSelectElement>();
  private readonly boxes = new Map<string, HTMLInputElement>();
  private measures = '';
  private model: Model | null = null;

  constructor(
    private readonly actions: Actions,
    filters: HTMLElement,
  ) {
    const axes = h('div', { class: 'axes' }, this.axis('x', 'Across', 'logX'), this.axis('y', 'Up', 'logY'), this.axis('z', 'Colour', null));
    const swap = h('button', { type: 'button', class: 'quiet-button', onclick: () => { this.swap(); } }, 'Swap axes');
    const zoom = h('button', { type: 'button', class: 'quiet-button', onclick: () => { this.zoom(); } }, 'Zoom to filter');
    const reset = h('button', { type: 'button', class: 'quiet-button', onclick: () => { actions.change({ zoom: null, brush: new Map() }); } }, 'Reset zoom and filter');
    const layers = h('fieldset', { class: 'toggles' }, h('legend', {}, 'Show'), ...LAYERS.map((layer) => this.layer(layer)));
    this.element.append(axes, h('div', { class: 'row' }, swap, zoom, reset, filters), layers);
  }

  update(model: Model): void {
    this.model = model;
    const { view, sweep } = model;
    const names = [...sweep.measures.keys()].filter((name) => sweep.values.has(name));
    if (names.join(' ') !== this.measures) this.fill(model, names);
    for (const [axis, select] of this.selects) select.value = view[axis];
    for (const layer of LAYERS) this.boxes.get(layer)!.checked = view.layers.has(layer);
    this.boxes.get('logX')!.checked = view.logX;
    this.boxes.get('logY')!.checked = view.logY;
  }

  private fill(model: Model, names: string[]): void {
    this.measures = names.join(' ');
    for (const [axis, select] of this.selects) {
      const options = names.map((name) => h('option', { value: name }, model.sweep.measures.get(name)!.label));
      select.replaceChildren(...(axis === 'z' ? [h('option', { value: '' }, 'none')] : []), ...options);
    }
  }

  private axis(axis: 'x' | 'y' | 'z', text: string, log: 'logX' | 'logY' | null): HTMLElement {
    const select = h('select', {
      onchange: () => {
        this.change(axis, select.value);
      },
    });
    this.selects.set(axis, select);
    const label = h('label', {}, h('span', {}, text), select);
    return log ? h('div', { class: 'axis' }, label, this.box(log, `Log ${text.toLowerCase()}`)) : label;
  }

  private change(axis: 'x' | 'y' | 'z', name: string): void {
    const isLog = this.model?.sweep.measures.get(name)?.scale === 'log10';
    const log = axis === 'x' ? { logX: isLog } : axis === 'y' ? { logY: isLog } : {};
    this.actions.change({ [axis]: name, ...log, zoom: null });
  }

  private swap(): void {
    const { view } = this.model!;
    this.actions.change({ x: view.y, y: view.x, logX: view.logY, logY: view.logX, zoom: null });
  }

  private zoom(): void {
    const { view } = this.model!;
    const [x, y] = [view.brush.get(view.x), view.brush.get(view.y)];
    if (x && y) this.actions.change({ zoom: { x, y } });
    else this.actions.announce('Drag over the picture first, or set a range for both axes');
  }

  private layer(layer: Layer): HTMLElement {
    return this.checkbox(layer, LABELS[layer], (isOn) => {
      const layers = new Set(this.model!.view.layers);
      if (isOn) layers.add(layer);
      else layers.delete(layer);
      this.actions.change({ layers });
    });
  }

  private box(name: 'logX' | 'logY', text: string): HTMLElement {
    return this.checkbox(name, text, (isOn) => {
      this.actions.change({ [name]: isOn, zoom: null });
    });
  }

  private checkbox(name: string, text: string, change: (isOn: boolean) => void): HTMLElement {
    const box = h('input', {
      type: 'checkbox',
      onchange: () => {
        change(box.checked);
      },
    });
    this.boxes.set(name, box);
    return h('label', { class: 'check' }, box, text);
  }
}
