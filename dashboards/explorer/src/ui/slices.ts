/** One objective by each setting, with an estimate of how much the setting matters that names itself. */

import type { Measure } from '../data/snapshot';
import { FEWEST, slices, type Bin, type Slice } from '../math/importance';
import { padded, toPixel, type AxisScale } from '../math/scale';
import { full, settingText, short } from '../view/format';
import type { Model } from '../view/model';
import type { Actions, Part } from './app';
import { h, setText } from './dom';

const [WIDTH, HEIGHT] = [220, 110];
const MOST_SLICES = 24;
const SVG = 'http://www.w3.org/2000/svg';

export class SlicesPart implements Part {
  readonly element: HTMLElement;
  private readonly select: HTMLSelectElement;
  private readonly note = h('p', { class: 'summary' });
  private readonly forest = h('div', { class: 'forest' });
  private readonly grid = h('div', { class: 'slices' });
  private names = '';
  private shown: unknown[] = [];
  private isVisible = false;
  private model: Model | null = null;

  constructor(actions: Actions) {
    this.select = h('select', { onchange: () => { actions.change({ sliced: this.select.value }); } });
    this.element = h(
      'section',
      { class: 'card', 'aria-labelledby': 'slices-title' },
      h('div', { class: 'title-row' }, h('h2', { id: 'slices-title' }, 'What moves an objective'), h('label', {}, h('span', {}, 'Objective'), this.select)),
      this.note,
      this.forest,
      this.grid,
    );
    new IntersectionObserver((entries) => {
      this.isVisible = entries.some((entry) => entry.isIntersecting);
      if (this.model) this.update(this.model);
    }).observe(this.element);
  }

  update(model: Model): void {
    this.model = model;
    const { sweep, view } = model;
    if (!this.isVisible || (this.shown[0] === sweep && this.shown[1] === view.sliced)) return;
    const names = [...sweep.measures.keys()].filter((name) => sweep.values.has(name));
    if (names.join(' ') !== this.names) this.select.replaceChildren(...names.map((name) => h('option', { value: name }, sweep.measures.get(name)!.label)));
    this.names = names.join(' ');
    this.select.value = view.sliced;
    this.shown = [sweep, view.sliced];
    this.show(model, sweep.measures.get(view.sliced)!);
  }

  private show(model: Model, measure: Measure): void {
    const found = slices(model.sweep, measure).slice(0, MOST_SLICES);
    setText(
      this.note,
      'Correlation ratio η²: the share of the variance between bins of one setting (its choices, or ten bins of equal count). ' +
        'It is an estimate of one setting at a time; it does not see how settings act together. ' +
        `Bars: median and quartiles of each bin. It needs ${FEWEST} finished candidates.`,
    );
    this.forest.replaceChildren(...forestParts(model, measure));
    this.grid.replaceChildren(...found.map((slice) => sliceFigure(slice, measure)));
    if (found.length === 0) this.grid.append(h('p', { class: 'quiet' }, 'No setting has more than one value yet.'));
  }
}

function forestParts(model: Model, measure: Measure): HTMLElement[] {
  const found = model.sweep.importance.get(measure.name);
  if (!found || found.shares.size === 0) return [];
  const text = [...found.shares].slice(0, 6).map(([name, share]) => `${name} ${share.toFixed(2)}`).join(' · ');
  return [h('p', { class: 'summary' }, h('strong', {}, 'Random forest, as in the report: '), `fall of R² when a setting is shuffled, of R² ${found.r2.toFixed(2)} over ${found.numTrials} trials: ${text}`)];
}

function sliceFigure(slice: Slice, measure: Measure): HTMLElement {
  const ratio = Number.isNaN(slice.ratio) ? 'too few candidates' : `η² ${slice.ratio.toFixed(2)}`;
  const bar = h('span', { class: 'share', 'aria-hidden': 'true' });
  bar.style.setProperty('--share', `${Number.isNaN(slice.ratio) ? 0 : slice.ratio * 100}%`);
  const caption = h('figcaption', {}, h('strong', {}, slice.setting.name), h('span', { class: 'quiet' }, ratio), bar);
  return h('figure', { class: 'slice' }, caption, drawing(slice, measure));
}

function drawing(slice: Slice, measure: Measure): HTMLElement {
  const { bins } = slice;
  const kind = measure.scale === 'log10' && bins.every((bin) => bin.lowerQuartile > 0) ? 'log' : 'linear';
  const [low, high] = padded(bins.flatMap((bin) => [bin.lowerQuartile, bin.upperQuartile]), kind, 0.06);
  const scale: AxisScale = { kind, low, high, start: HEIGHT - 18, end: 4 };
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('viewBox', `0 0 ${WIDTH} ${HEIGHT}`);
  svg.setAttribute('role', 'img');
  svg.setAttribute('aria-label', bins.map((bin) => binText(slice, bin, measure)).join('; '));
  const step = WIDTH / bins.length;
  bins.forEach((bin, place) => {
    const x = (place + 0.5) * step;
    const [top, middle, bottom] = [bin.upperQuartile, bin.median, bin.lowerQuartile].map((value) => toPixel(scale, value));
    const half = Math.min(9, step / 3);
    svg.append(
      shape('rect', { x: x - half, y: top, width: 2 * half, height: Math.max(1, bottom - top), rx: 2, class: 'box' }),
      shape('line', { x1: x - half, x2: x + half, y1: middle, y2: middle, class: 'median' }),
    );
    if (bins.length <= 4 || place === 0 || place === bins.length - 1) svg.append(binLabel(slice, bin, place, x));
  });
  const figure = h('div', { title: bins.map((bin) => binText(slice, bin, measure)).join('\n') });
  figure.append(svg);
  return figure;
}

function binLabel(slice: Slice, bin: Bin, place: number, x: number): SVGElement {
  const { bins, setting } = slice;
  const isFirst = bins.length > 4 && place === 0;
  const isLast = bins.length > 4 && place === bins.length - 1;
  const text = bin.label !== '' ? bin.label : settingText(setting, isLast ? bin.high : bin.low);
  const label = shape('text', { x: isFirst ? 2 : isLast ? WIDTH - 2 : x, y: HEIGHT - 4, 'text-anchor': isFirst ? 'start' : isLast ? 'end' : 'middle' });
  label.textContent = text.length > 16 ? `${text.slice(0, 15)}…` : text;
  return label;
}

function binText({ setting }: Slice, bin: Bin, measure: Measure): string {
  const range = bin.label !== '' ? bin.label : `${settingText(setting, bin.low)} to ${settingText(setting, bin.high)}`;
  return `${range}: median ${full(measure, bin.median)} (${short(measure, bin.lowerQuartile)} to ${short(measure, bin.upperQuartile)}, ${bin.rows.length})`;
}

function shape(tag: 'rect' | 'line' | 'text', attributes: Record<string, string | number>): SVGElement {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  return element;
}
