/** Parallel coordinates of settings and objectives; a dragged range filters the picture and the table too. */

import type { Sweep } from '../data/snapshot';
import { padded, ticks, toPixel, toValue, type AxisScale } from '../math/scale';
import { readPalette, type Palette } from '../draw/palette';
import { axisLabel, grouped, settingText, tick } from '../view/format';
import { dimension, DOMINATED, HIDDEN, ON_FRONT, type Model } from '../view/model';
import type { Range } from '../view/view';
import type { Actions, Part } from './app';
import { h, inNextFrame, setText } from './dom';

const MOST_LINES = 1500; // of candidates off the front; more is one block of colour
const AXIS_WIDTH = 104;
const HEIGHT = 260;
const [TOP, BOTTOM] = [34, HEIGHT - 26];

interface Axis {
  key: string;
  label: string;
  scale: AxisScale;
  values: Float64Array;
  x: number;
  text(value: number): string;
  /** The places of a choice; null for numbers. */
  places: number | null;
}

export class ParallelPart implements Part {
  readonly element: HTMLElement;
  private readonly canvas = h('canvas', { role: 'img', 'aria-labelledby': 'parallel-title', 'aria-describedby': 'parallel-note' });
  private readonly note = h('p', { class: 'summary', id: 'parallel-note' });
  private readonly wide: HTMLElement;
  private axes: Axis[] = [];
  private model: Model | null = null;
  private drag: { axis: Axis; from: number; to: number } | null = null;
  private palette: Palette = readPalette();
  private drawn: unknown[] = [];
  private readonly drawSoon = inNextFrame(() => {
    this.draw();
  });

  constructor(private readonly actions: Actions) {
    this.wide = h('div', { class: 'wide', tabindex: 0, role: 'group', 'aria-label': 'Parallel coordinates, scrolls sideways' }, this.canvas);
    this.element = h(
      'section',
      { class: 'card', 'aria-labelledby': 'parallel-title' },
      h('h2', { id: 'parallel-title' }, 'Settings and objectives'),
      this.note,
      this.wide,
    );
    new ResizeObserver(() => {
      this.drawSoon();
    }).observe(this.wide);
    this.listen();
  }

  update(model: Model): void {
    this.model = model;
    this.drawSoon();
  }

  recolour(): void {
    this.palette = readPalette();
    this.drawn = [];
    this.drawSoon();
  }

  private draw(): void {
    const { model } = this;
    if (!model || this.wide.clientWidth === 0) return;
    const names = dimensionsOf(model);
    const width = Math.max(this.wide.clientWidth, names.length * AXIS_WIDTH);
    const now = [model.sweep, model.classes, model.isBrushed, model.front, model.view.focus, names.join(' '), width, this.drag?.to];
    if (now.every((value, place) => value === this.drawn[place]) && this.drawn.length > 0) return;
    if (this.drawn[0] !== model.sweep || this.drawn[5] !== now[5] || this.drawn[6] !== width) this.axes = axesOf(model.sweep, names, width);
    this.drawn = now;
    this.paint(model, width);
  }

  private paint(model: Model, width: number): void {
    const ratio = Math.min(2, window.devicePixelRatio || 1);
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(HEIGHT * ratio);
    this.canvas.style.width = `${width}px`;
    this.canvas.style.height = `${HEIGHT}px`;
    const context = this.canvas.getContext('2d')!;
    context.scale(ratio, ratio);
    const { palette } = this;
    const others = this.sample(model);
    this.lines(context, others, palette.dominated, others.length > 300 ? 0.16 : 0.4, 1);
    this.lines(context, model.front.filter((row) => model.isBrushed[row]), palette.front, 0.85, 1.4);
    const focus = model.rowOf.get(model.view.focus);
    if (focus !== undefined) this.lines(context, [focus], palette.choice, 1, 3);
    for (const axis of this.axes) this.axis(context, axis, model);
    setText(
      this.note,
      `Drag along an axis to filter. ${grouped(model.front.filter((row) => model.isBrushed[row]).length)} lines of the front` +
        ` and ${grouped(others.length)} of the other shown candidates${others.length >= MOST_LINES ? ', an even sample' : ''}.`,
    );
  }

  private sample(model: Model): number[] {
    const rows: number[] = [];
    for (let row = 0; row < model.classes.length; row++) {
      const kind = model.classes[row];
      if (kind !== HIDDEN && kind !== ON_FRONT && kind >= DOMINATED && model.isBrushed[row]) rows.push(row);
    }
    const step = rows.length / MOST_LINES;
    return step <= 1 ? rows : Array.from({ length: MOST_LINES }, (_, place) => rows[Math.floor(place * step)]);
  }

  private lines(context: CanvasRenderingContext2D, rows: readonly number[], colour: string, opacity: number, width: number): void {
    context.strokeStyle = colour;
    context.globalAlpha = opacity;
    context.lineWidth = width;
    for (let start = 0; start < rows.length; start += 40) {
      context.beginPath();
      for (const row of rows.slice(start, start + 40)) this.trace(context, row);
      context.stroke();
    }
    context.globalAlpha = 1;
  }

  private trace(context: CanvasRenderingContext2D, row: number): void {
    let isDown = false;
    for (const axis of this.axes) {
      const y = toPixel(axis.scale, axis.values[row]);
      if (isDown) context.lineTo(axis.x, y);
      else context.moveTo(axis.x, y);
      isDown = !Number.isNaN(y);
    }
  }

  private axis(context: CanvasRenderingContext2D, axis: Axis, model: Model): void {
    const { palette } = this;
    context.strokeStyle = palette.muted;
    context.lineWidth = 1;
    context.beginPath();
    context.moveTo(axis.x, TOP);
    context.lineTo(axis.x, BOTTOM);
    context.stroke();
    context.font = '11px system-ui, sans-serif';
    context.textAlign = 'left';
    context.fillStyle = palette.ink;
    context.fillText(ending(context, axis.label, AXIS_WIDTH - 14), axis.x - 8, 14);
    const range = this.drag?.axis === axis ? this.range(this.drag) : model.view.brush.get(axis.key);
    if (range) this.brush(context, axis, range);
    context.textAlign = 'left';
    for (const value of ticksOf(axis)) {
      const y = toPixel(axis.scale, value);
      const text = clipped(context, axis.text(value), AXIS_WIDTH - 20);
      context.lineWidth = 3;
      context.strokeStyle = palette.surface;
      context.strokeText(text, axis.x + 5, y + 4);
      context.fillStyle = palette.muted;
      context.fillText(text, axis.x + 5, y + 4);
    }
  }

  private brush(context: CanvasRenderingContext2D, axis: Axis, [low, high]: Range): void {
    const clamp = (value: number): number => Math.max(TOP, Math.min(BOTTOM, value));
    const [from, to] = [clamp(toPixel(axis.scale, high)), clamp(toPixel(axis.scale, low))];
    context.fillStyle = this.palette.front;
    context.globalAlpha = 0.25;
    context.fillRect(axis.x - 7, from, 14, Math.max(3, to - from));
    context.globalAlpha = 1;
  }

  private listen(): void {
    this.canvas.addEventListener('pointerdown', (event) => {
      if (event.pointerType === 'touch') return;
      const axis = this.axes.find((one) => event.offsetX > one.x - AXIS_WIDTH / 4 && event.offsetX < one.x + AXIS_WIDTH / 2);
      if (!axis) return;
      this.drag = { axis, from: event.offsetY, to: event.offsetY };
      this.canvas.setPointerCapture(event.pointerId);
    });
    this.canvas.addEventListener('pointermove', (event) => {
      if (!this.drag) return;
      this.drag.to = event.offsetY;
      this.drawSoon();
    });
    this.canvas.addEventListener('pointerup', () => {
      this.release();
    });
  }

  private release(): void {
    const { drag, model } = this;
    this.drag = null;
    if (!drag || !model) return;
    const brush = new Map(model.view.brush);
    if (Math.abs(drag.to - drag.from) < 4) brush.delete(drag.axis.key);
    else brush.set(drag.axis.key, this.range(drag));
    this.actions.change({ brush });
  }

  private range({ axis, from, to }: { axis: Axis; from: number; to: number }): Range {
    const ends = [from, to].map((y) => toValue(axis.scale, Math.max(TOP - 6, Math.min(BOTTOM + 6, y))));
    const [low, high] = [Math.min(...ends), Math.max(...ends)];
    return axis.places === null ? [Number(low.toPrecision(5)), Number(high.toPrecision(5))] : [Math.ceil(low - 0.3), Math.floor(high + 0.3)];
  }
}

/** The settings that vary, and the shown measures and objectives at the right. */
function dimensionsOf({ sweep, view }: Model): string[] {
  const varied = sweep.settings.filter(({ values }) => values.some((value) => !Number.isNaN(value) && value !== firstOf(values)));
  const measures = new Set([...sweep.objectives, view.x, view.y, view.z].filter((name) => name !== ''));
  return [...varied.map(({ name }) => `config:${name}`), ...measures];
}

function firstOf(values: Float64Array): number {
  return values.find((value) => !Number.isNaN(value)) ?? NaN;
}

function axesOf(sweep: Sweep, names: string[], width: number): Axis[] {
  const step = width / names.length;
  return names.map((key, place) => ({ ...axisOf(sweep, key), x: place * step + 12 }));
}

function axisOf(sweep: Sweep, key: string): Omit<Axis, 'x'> {
  const values = dimension(sweep, key);
  const setting = sweep.settings.find((one) => `config:${one.name}` === key);
  const ends = { start: BOTTOM, end: TOP };
  if (setting?.kind === 'choice') {
    const scale = { kind: 'linear' as const, low: -0.2, high: setting.choices.length - 0.8, ...ends };
    return { key, label: setting.name, values, scale, text: (value) => settingText(setting, value), places: setting.choices.length };
  }
  const measure = sweep.measures.get(key);
  const kind = (setting?.log ?? measure?.scale === 'log10') && !values.some((value) => value <= 0) ? 'log' : 'linear';
  const [low, high] = padded(values, kind, 0.02);
  const text = (value: number): string => (measure ? tick(measure, value) : settingText(setting!, value));
  return { key, label: measure ? axisLabel(measure) : setting!.name, values, scale: { kind, low, high, ...ends }, text, places: null };
}

function ticksOf(axis: Axis): number[] {
  return axis.places === null ? ticks(axis.scale, 4) : Array.from({ length: axis.places }, (_, place) => place);
}

function clipped(context: CanvasRenderingContext2D, text: string, width: number): string {
  if (context.measureText(text).width <= width) return text;
  let end = Math.min(text.length, 40);
  while (end > 1 && context.measureText(`${text.slice(0, end)}…`).width > width) end--;
  return `${text.slice(0, end)}…`;
}

/** The names of settings differ at their ends. */
function ending(context: CanvasRenderingContext2D, text: string, width: number): string {
  if (context.measureText(text).width <= width) return text;
  let start = Math.max(1, text.length - 40);
  while (start < text.length - 1 && context.measureText(`…${text.slice(start)}`).width > width) start++;
  return `…${text.slice(start)}`;
}
