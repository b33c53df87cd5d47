/** The scatter: drawn on a canvas, walked with the arrow keys, brushed and picked with a pointer. */

import { frameOf, type Frame } from '../draw/frame';
import { Picker } from '../draw/picking';
import { drawMark, drawPicture, pictureOf, type Picture } from '../draw/picture';
import { readPalette, sequential, type Palette } from '../draw/palette';
import { toValue } from '../math/scale';
import { axisLabel, grouped, short, withInterval } from '../view/format';
import { HIDDEN, ON_FRONT, type Model } from '../view/model';
import { MOST_CHOSEN, type Range } from '../view/view';
import type { Actions, Part } from './app';
import { h, inNextFrame, setText } from './dom';

const REACH = 14; // pixels around a pointer in which a mark is found
const SMALLEST_BRUSH = 5; // pixels; less is a click

export class ScatterPart implements Part {
  readonly element: HTMLElement;
  private readonly canvas = h('canvas', { 'aria-hidden': 'true' });
  private readonly upper = h('canvas', { 'aria-hidden': 'true', class: 'upper' });
  private readonly stage: HTMLElement;
  private readonly tip = h('div', { class: 'tip', 'aria-hidden': 'true' });
  private readonly caption = h('figcaption', { id: 'scatter-caption' });
  private readonly legend = h('ul', { class: 'legend', 'aria-label': 'Legend' });
  private models: Model[] = [];
  picture: Picture | null = null;
  private palette: Palette = readPalette();
  private picker: Picker | null = null;
  private hovered = -1;
  private drag: { x: number; y: number; toX: number; toY: number } | null = null;
  private drawn: unknown[] = [];
  private readonly drawSoon = inNextFrame(() => {
    this.draw();
  });

  constructor(private readonly actions: Actions) {
    this.stage = h(
      'div',
      {
        class: 'stage',
        tabindex: 0,
        role: 'application',
        'aria-roledescription': 'scatter plot',
        'aria-describedby': 'scatter-caption',
        'aria-keyshortcuts': 'ArrowLeft ArrowRight Home End Space Escape',
      },
      this.canvas,
      this.upper,
      this.tip,
    );
    this.element = h('figure', { class: 'scatter', id: 'scatter-figure' }, this.stage, this.legend, this.caption);
    new ResizeObserver(() => {
      this.drawn = [];
      this.drawSoon();
    }).observe(this.stage);
    this.listen();
  }

  update(model: Model, overlay: Model | null): void {
    this.models = overlay ? [model, overlay] : [model];
    this.drawSoon();
  }

  /** Draw again in the colours that the page has now. */
  recolour(): void {
    this.palette = readPalette();
    this.drawn = [];
    this.drawSoon();
  }

  private draw(): void {
    const { clientWidth: width, clientHeight: height } = this.stage;
    if (this.models.length === 0 || width === 0) return;
    const ratio = Math.min(2, window.devicePixelRatio || 1);
    const now = this.inputs(width, height, ratio);
    if (now.length !== this.drawn.length || now.some((value, place) => value !== this.drawn[place])) {
      this.drawn = now;
      this.drawBase(width, height, ratio);
    }
    this.drawUpper();
  }

  /** All that the lower canvas depends on; as long as it is the same, the canvas stays as it is. */
  private inputs(width: number, height: number, ratio: number): unknown[] {
    const { view } = this.models[0];
    const own = this.models.flatMap((model) => [model.sweep, model.classes, model.isBrushed, model.front, model.choices]);
    const focus = view.layers.has('ladders') || view.layers.has('bars') ? view.focus : '';
    return [width, height, ratio, ...own, view.x, view.y, view.z, view.logX, view.logY, view.layers, view.zoom, focus];
  }

  private drawBase(width: number, height: number, ratio: number): void {
    for (const canvas of [this.canvas, this.upper]) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
      canvas.style.width = `${width}px`;
      canvas.style.height = `${height}px`;
    }
    const frame = frameOf(this.models, width, height);
    this.picture = pictureOf(this.models, frame, this.palette, ratio);
    drawPicture(this.canvas, this.picture);
    this.picker = null;
    this.describe(frame);
    performance.mark('explorer:picture');
  }

  private describe(frame: Frame): void {
    const [model] = this.models;
    const { sweep, view, front } = model;
    const [x, y] = [sweep.measures.get(view.x)!, sweep.measures.get(view.y)!];
    const z = sweep.measures.get(view.z);
    const name = `${axisLabel(y)} by ${axisLabel(x)}${z ? `, coloured by ${axisLabel(z)}` : ''}`;
    this.stage.setAttribute('aria-label', `${name}. ${front.length} candidates on the front. Left and right arrow keys walk it.`);
    const better = `Arrows on the axes point to the better side.`;
    const which = model.isServers ? 'the sweep’s own front' : 'the front over the shown axes and limits';
    setText(
      this.caption,
      `${name}: ${grouped(sweep.n)} candidates, ${grouped(model.numFitting)} within the limits, ${front.length} on ${which}. ${better}`,
    );
    this.legend.replaceChildren(...legendItems(this.models, frame, this.palette));
  }

  private drawUpper(): void {
    const { picture } = this;
    if (!picture) return;
    const context = this.upper.getContext('2d')!;
    context.setTransform(picture.ratio, 0, 0, picture.ratio, 0, 0);
    context.clearRect(0, 0, picture.frame.width, picture.frame.height);
    const [{ model, xs, ys }] = picture.placed;
    const { view, rowOf } = this.models[0];
    view.chosen.forEach((id, place) => {
      const row = rowOf.get(id);
      if (row === undefined) return;
      drawMark(context, 'square', xs[row], ys[row], 8, { stroke: chosenColour(place), width: 2.5 });
    });
    const focus = rowOf.get(view.focus);
    if (focus !== undefined) drawMark(context, 'ring', xs[focus], ys[focus], 11, { stroke: this.palette.ink, width: 2.5 });
    if (this.hovered >= 0) drawMark(context, 'ring', xs[this.hovered], ys[this.hovered], 8, { stroke: this.palette.ink });
    if (this.drag) this.drawDrag(context);
    this.showTip(model, this.hovered);
  }

  private drawDrag(context: CanvasRenderingContext2D): void {
    const { x, y, toX, toY } = this.drag!;
    context.fillStyle = this.palette.front;
    context.globalAlpha = 0.12;
    context.fillRect(x, y, toX - x, toY - y);
    context.globalAlpha = 1;
    context.strokeStyle = this.palette.front;
    context.lineWidth = 1;
    context.strokeRect(x, y, toX - x, toY - y);
  }

  private showTip(model: Model, row: number): void {
    this.tip.hidden = row < 0 || this.drag !== null;
    if (this.tip.hidden || !this.picture) return;
    const { sweep, view } = model;
    const names = [...new Set([view.x, view.y, view.z, ...sweep.objectives])].filter((name) => name !== '');
    const lines = names.map((name) => h('div', {}, `${sweep.measures.get(name)!.label} ${valueText(model, name, row)}`));
    const config = sweep.settings.length > 0 ? h('div', { class: 'quiet' }, 'Click for its card') : null;
    this.tip.replaceChildren(h('strong', {}, sweep.ids[row]), ...lines, ...(config ? [config] : []));
    const [{ xs, ys }] = this.picture.placed;
    const isRight = xs[row] > this.picture.frame.width / 2;
    this.tip.style.transform = `translate(${isRight ? xs[row] - 12 : xs[row] + 12}px, ${ys[row] + 10}px)${isRight ? ' translateX(-100%)' : ''}`;
  }

  private listen(): void {
    this.stage.addEventListener('keydown', (event) => {
      if (this.key(event.key, event.shiftKey)) event.preventDefault();
    });
    this.stage.addEventListener('pointerdown', (event) => {
      if (event.button !== 0 || event.pointerType === 'touch') return;
      const [x, y] = this.place(event);
      this.drag = { x, y, toX: x, toY: y };
      this.stage.setPointerCapture(event.pointerId);
    });
    this.stage.addEventListener('pointermove', (event) => {
      const [x, y] = this.place(event);
      if (this.drag) [this.drag.toX, this.drag.toY] = [x, y];
      else this.hovered = this.rowAt(x, y);
      this.drawSoon();
    });
    this.stage.addEventListener('pointerup', (event) => {
      this.release(event);
    });
    this.stage.addEventListener('pointercancel', () => {
      this.drag = null;
      this.drawSoon();
    });
    this.stage.addEventListener('pointerleave', () => {
      this.hovered = -1;
      this.drawSoon();
    });
    this.stage.addEventListener('dblclick', () => {
      this.actions.change({ brush: new Map() });
    });
  }

  private place(event: PointerEvent): [number, number] {
    const box = this.stage.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  private rowAt(x: number, y: number): number {
    if (!this.picture) return -1;
    const [{ model, xs, ys }] = this.picture.placed;
    if (!this.picker) {
      const rows = [...model.classes.keys()].filter((row) => model.classes[row] !== HIDDEN);
      this.picker = new Picker(xs, ys, rows);
    }
    return this.picker.nearest(x, y, REACH, (row) => model.classes[row] === ON_FRONT);
  }

  private release(event: PointerEvent): void {
    const { drag, picture } = this;
    this.drag = null;
    if (!picture) return;
    if (!drag || Math.hypot(drag.toX - drag.x, drag.toY - drag.y) < SMALLEST_BRUSH) {
      const row = this.rowAt(...this.place(event));
      if (row >= 0) this.pick(row, event.shiftKey);
      return;
    }
    const { view } = this.models[0];
    const brush = new Map(view.brush);
    brush.set(view.x, rangeOf(picture.frame.x, drag.x, drag.toX));
    brush.set(view.y, rangeOf(picture.frame.y, drag.y, drag.toY));
    this.actions.change({ brush });
  }

  private pick(row: number, isChosen: boolean): void {
    const [{ sweep, view }] = this.models;
    const id = sweep.ids[row];
    if (isChosen) this.actions.change({ chosen: toggled(view.chosen, id), focus: id });
    else this.actions.change({ focus: id });
  }

  /** Handle a key; return whether it meant something. */
  private key(key: string, isShift: boolean): boolean {
    const [model] = this.models;
    const { front, view, rowOf, sweep } = model;
    const place = front.indexOf(rowOf.get(view.focus) ?? -1);
    if (key === 'ArrowRight' || key === 'ArrowUp') return this.walk(model, place + 1);
    if (key === 'ArrowLeft' || key === 'ArrowDown') return this.walk(model, place < 0 ? front.length - 1 : place - 1);
    if (key === 'Home') return this.walk(model, 0);
    if (key === 'End') return this.walk(model, front.length - 1);
    if ((key === ' ' || key === 'Enter') && rowOf.has(view.focus)) {
      const chosen = toggled(view.chosen, view.focus);
      this.actions.change({ chosen });
      this.actions.announce(`${view.focus} ${chosen.includes(view.focus) ? 'is among' : 'is no longer among'} the compared candidates`);
      return true;
    }
    if (key !== 'Escape') return false;
    this.actions.change(isShift ? { brush: new Map(), zoom: null, focus: '' } : { brush: new Map() });
    this.actions.announce(`Filter cleared, ${grouped(sweep.n)} candidates`);
    return true;
  }

  private walk(model: Model, place: number): boolean {
    const { front, sweep } = model;
    if (front.length === 0) {
      this.actions.announce('No candidate is on the front under these limits');
      return true;
    }
    const at = Math.max(0, Math.min(front.length - 1, place));
    this.actions.change({ focus: sweep.ids[front[at]] });
    this.actions.announce(pointText(model, at));
    return true;
  }
}

/** Return what is read aloud for a point of the front: "point 3 of 12: 41 kB, 0.962 ± 0.004". */
export function pointText(model: Model, place: number): string {
  const row = model.front[place];
  const values = [model.view.x, model.view.y, model.view.z].filter((name) => name !== '');
  return `point ${place + 1} of ${model.front.length}: ${values.map((name) => valueText(model, name, row)).join(', ')}`;
}

/** Return a candidate's value with its interval, short; of one that was trained again also the mean over the fresh seeds. */
export function valueText({ sweep }: Model, name: string, row: number): string {
  const measure = sweep.measures.get(name)!;
  const at = (columns: Map<string, Float64Array>): number => columns.get(name)?.[row] ?? NaN;
  if (Number.isNaN(at(sweep.mean))) return withInterval(measure, at(sweep.known), at(sweep.low), at(sweep.high));
  return `${short(measure, at(sweep.known))} (fresh seeds ${withInterval(measure, at(sweep.mean), at(sweep.low), at(sweep.high))})`;
}

/** Return a list with an id added, or taken out where it is in. */
export function toggled(ids: readonly string[], id: string): string[] {
  return ids.includes(id) ? ids.filter((one) => one !== id) : [...ids, id].slice(-MOST_CHOSEN);
}

// Okabe and Ito (2008)
const CHOSEN = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#8c6bb1', '#7f7f7f'];

/** Return the colour of a chosen candidate, the same in the scatter and in the curves. */
export function chosenColour(place: number): string {
  return CHOSEN[place % CHOSEN.length];
}

function rangeOf(scale: Frame['x'], from: number, to: number): Range {
  const ends = [toValue(scale, from), toValue(scale, to)].map((value) => Number(value.toPrecision(6)));
  return [Math.min(...ends), Math.max(...ends)];
}

function legendItems(models: readonly Model[], frame: Frame, palette: Palette): HTMLElement[] {
  const [model, overlay] = models;
  const { layers } = model.view;
  const item = (mark: string, text: string): HTMLElement => h('li', {}, h('span', { class: `mark ${mark}`, 'aria-hidden': 'true' }), text);
  const items = [item('front', `front (${model.front.length})`)];
  if (layers.has('dominated')) items.push(item('dominated', 'dominated'));
  if (model.sweep.isInherited.includes(1)) items.push(item('open', 'open: inherited, or outside the filter'));
  if (layers.has('infeasible')) items.push(item('infeasible', 'misses a limit'));
  if (layers.has('stopped')) items.push(item('stopped', 'stopped or failed'));
  if (layers.has('baselines')) {
    const kinds = new Set(model.sweep.baselines.map((baseline) => baseline.kind));
    if (kinds.delete('teacher')) items.push(item('teacher', 'teacher'));
    if (kinds.size > 0) items.push(item('baseline', 'baseline'));
  }
  if (layers.has('choices')) items.push(item('choice', 'a policy’s choice'));
  if (overlay) items.push(item('overlay', `${overlay.sweep.name} (${overlay.front.length} on its front)`));
  if (frame.z) items.push(ramp(model, [frame.z.low, frame.z.high], palette));
  return items;
}

function ramp(model: Model, [low, high]: Range, palette: Palette): HTMLElement {
  const measure = model.sweep.measures.get(model.view.z)!;
  const bar = h('span', { class: 'ramp', 'aria-hidden': 'true' });
  bar.style.background = `linear-gradient(to right, ${sequential(palette.isDark).filter((_, step) => step % 7 === 0).join(', ')})`;
  return h('li', {}, `${axisLabel(measure)} ${short(measure, low)}`, bar, short(measure, high));
}
