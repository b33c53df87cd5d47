/** Draws a whole scatter on a canvas: axes, cloud, front, error bars, ladders, baselines, policies' choices. */

import { column, type Measure, type Sweep } from '../data/snapshot';
import { ticks, toPixel, type AxisScale } from '../math/scale';
import { axisLabel, tick } from '../view/format';
import { HIDDEN, type Model } from '../view/model';
import { drawCloud } from './cloud';
import { pixels, type Frame } from './frame';
import { path, type Mark } from './marks';
import { colourPlace, sequential, type Palette } from './palette';

const NARROW = 480; // pixels of a picture in which long labels cover each other
const MOST_BARS = 400; // more error bars hide the points

/** Where labels stand already; a label that finds no free place is left out, and its candidate's card has the names. */
type Labels = { left: number; right: number; y: number }[];

export interface Placed {
  model: Model;
  xs: Float32Array;
  ys: Float32Array;
}

export interface Picture {
  frame: Frame;
  placed: readonly Placed[];
  palette: Palette;
  ratio: number;
}

export const FONT = '12px system-ui, sans-serif';

/** Return a picture of the models, the second of which is drawn as an overlay. */
export function pictureOf(models: readonly Model[], frame: Frame, palette: Palette, ratio: number): Picture {
  const placed = models.map((model) => ({
    model,
    xs: pixels(model.sweep, model.view.x, frame.x),
    ys: pixels(model.sweep, model.view.y, frame.y),
  }));
  return { frame, placed, palette, ratio };
}

/** Draw the picture on a canvas of its frame's size. */
export function drawPicture(canvas: HTMLCanvasElement, picture: Picture): void {
  const context = canvas.getContext('2d')!;
  const { ratio, frame, palette } = picture;
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.fillStyle = palette.surface;
  context.fillRect(0, 0, frame.width, frame.height);
  drawAxes(context, picture);
  drawClouds(context, picture);
  context.save();
  context.beginPath();
  context.rect(frame.left - 8, frame.top - 8, frame.right - frame.left + 16, frame.bottom - frame.top + 16);
  context.clip();
  picture.placed.forEach((one, place) => {
    drawFront(context, picture, one, place);
  });
  const labels: Labels = [];
  drawBaselines(context, picture, labels);
  drawChoices(context, picture, labels);
  context.restore();
}

function drawAxes(context: CanvasRenderingContext2D, { frame, palette, placed }: Picture): void {
  const { sweep, view } = placed[0].model;
  const [x, y] = [sweep.measures.get(view.x)!, sweep.measures.get(view.y)!];
  context.font = FONT;
  context.lineWidth = 1;
  context.fillStyle = palette.muted;
  context.strokeStyle = palette.grid;
  context.textAlign = 'center';
  for (const value of ticks(frame.x, Math.max(3, frame.width / 110))) {
    const at = Math.round(toPixel(frame.x, value)) + 0.5;
    line(context, at, frame.top, at, frame.bottom);
    context.fillText(tick(x, value), at, frame.bottom + 18);
  }
  context.textAlign = 'right';
  for (const value of ticks(frame.y, Math.max(3, frame.height / 70))) {
    const at = Math.round(toPixel(frame.y, value)) + 0.5;
    line(context, frame.left, at, frame.right, at);
    context.fillText(tick(y, value), frame.left - 8, at + 4);
  }
  context.fillStyle = palette.ink;
  context.textAlign = 'right';
  const [across, up] = axisTitles(x, y);
  context.fillText(across, frame.right, frame.bottom + 38);
  context.textAlign = 'left';
  context.fillText(up, 8, frame.top - 18);
}

/** Return the titles of both axes, with an arrow to where the measure is better. */
export function axisTitles(x: Measure, y: Measure): [string, string] {
  return [`${axisLabel(x)} ${x.direction === 'maximise' ? '→' : '←'}`, `${y.direction === 'maximise' ? '↑' : '↓'} ${axisLabel(y)}`];
}

function line(context: CanvasRenderingContext2D, x: number, y: number, toX: number, toY: number): void {
  context.beginPath();
  context.moveTo(x, y);
  context.lineTo(toX, toY);
  context.stroke();
}

function drawClouds(context: CanvasRenderingContext2D, { frame, placed, palette, ratio }: Picture): void {
  const layer = document.createElement('canvas');
  layer.width = Math.round(frame.width * ratio);
  layer.height = Math.round(frame.height * ratio);
  const inner = layer.getContext('2d', { willReadFrequently: true })!;
  const image = inner.createImageData(layer.width, layer.height);
  placed.forEach(({ model, xs, ys }, place) => {
    const own = place === 0 ? palette : { ...palette, dominated: palette.overlay };
    drawCloud(image, model, frame, xs, ys, own, ratio);
  });
  inner.putImageData(image, 0, 0);
  context.drawImage(layer, 0, 0, frame.width, frame.height);
}

function drawFront(context: CanvasRenderingContext2D, picture: Picture, one: Placed, place: number): void {
  const { frame, palette } = picture;
  const { model, xs, ys } = one;
  const colour = place === 0 ? palette.front : palette.overlay;
  if (!frame.z) drawStaircase(context, frame, one, colour, place > 0);
  if (model.view.layers.has('ladders')) drawLadders(context, one, palette.muted);
  if (model.view.layers.has('bars')) drawBars(context, frame, one, colour);
  const colours = frame.z ? sequential(palette.isDark) : [];
  const values = column(model.sweep, model.view.z);
  for (const row of model.front) {
    const own = frame.z ? colours[colourPlace(values[row], frame.z)] : colour;
    drawMark(context, place === 0 ? 'circle' : 'square', xs[row], ys[row], model.front.length > 200 ? 3.5 : 5, {
      fill: isOpen(model, row) ? palette.surface : own,
      stroke: isOpen(model, row) ? own : palette.surface,
    });
  }
}

/** Return whether a front's mark is open: of an inherited candidate, or of one outside the filter. */
export function isOpen({ sweep, view, isBrushed }: Model, row: number): boolean {
  return sweep.isInherited[row] === 1 || (view.brush.size > 0 && !isBrushed[row]);
}

/** The line between front points that the front attains, with the area that it dominates. */
function drawStaircase(context: CanvasRenderingContext2D, frame: Frame, one: Placed, colour: string, isDashed: boolean): void {
  const corners = staircase(frame, one);
  if (corners.length === 0) return;
  const isXLess = one.model.sweep.measures.get(one.model.view.x)?.direction === 'minimise';
  const isYMore = one.model.sweep.measures.get(one.model.view.y)?.direction === 'maximise';
  context.beginPath();
  corners.forEach(([x, y]) => {
    context.lineTo(x, y);
  });
  context.strokeStyle = colour;
  context.lineWidth = 1.5;
  context.globalAlpha = 0.75;
  context.setLineDash(isDashed ? [6, 4] : []);
  context.stroke();
  context.setLineDash([]);
  context.lineTo(isXLess ? frame.right : corners[corners.length - 1][0], isYMore ? frame.bottom : frame.top);
  context.lineTo(isXLess ? corners[0][0] : frame.left, isYMore ? frame.bottom : frame.top);
  context.globalAlpha = 0.05;
  context.fillStyle = colour;
  context.fill();
  context.globalAlpha = 1;
}

/** Return the corners of the front's staircase, from left to right, to the edge where the x value is worse. */
export function staircase(frame: Frame, { model, xs, ys }: Placed): [number, number][] {
  const isXLess = model.sweep.measures.get(model.view.x)?.direction === 'minimise';
  const points = model.front.map((row): [number, number] => [xs[row], ys[row]]).filter(([x, y]) => !Number.isNaN(x + y));
  if (points.length === 0) return [];
  const corners: [number, number][] = isXLess ? [] : [[frame.left, points[0][1]]];
  points.forEach(([x, y], place) => {
    const before = points[place - 1];
    if (before) corners.push(isXLess ? [x, before[1]] : [before[0], y]);
    corners.push([x, y]);
  });
  if (isXLess) corners.push([frame.right, points[points.length - 1][1]]);
  return corners;
}

function drawLadders(context: CanvasRenderingContext2D, { model, xs, ys }: Placed, colour: string): void {
  context.beginPath();
  for (const [from, to] of ladders(model)) {
    context.moveTo(xs[from], ys[from]);
    context.lineTo(xs[to], ys[to]);
  }
  context.strokeStyle = colour;
  context.globalAlpha = 0.5;
  context.lineWidth = 1;
  context.stroke();
  context.globalAlpha = 1;
}

/** Return the pairs (parent, child) of drawn candidates; with a focused candidate those of its own ladder alone. */
export function ladders({ sweep, classes, view, rowOf }: Model): [number, number][] {
  const focus = rowOf.get(view.focus);
  const found: [number, number][] = [];
  for (let row = 0; row < sweep.n; row++) {
    const parent = sweep.parent[row];
    if (parent < 0 || classes[row] === HIDDEN || classes[parent] === HIDDEN) continue;
    if (focus === undefined || sweep.n < 5_000 || sweep.trial[row] === sweep.trial[focus]) found.push([parent, row]);
  }
  return found;
}

function drawBars(context: CanvasRenderingContext2D, frame: Frame, { model, xs, ys }: Placed, colour: string): void {
  context.beginPath();
  for (const bar of bars(model, frame)) segments(context, linesOf(bar, xs[bar.row], ys[bar.row]));
  context.strokeStyle = colour;
  context.globalAlpha = 0.7;
  context.lineWidth = 1.2;
  context.stroke();
  context.globalAlpha = 1;
}

function segments(context: CanvasRenderingContext2D, lines: readonly (readonly [number, number, number, number])[]): void {
  for (const [x, y, toX, toY] of lines) {
    context.moveTo(x, y);
    context.lineTo(toX, toY);
  }
}

export interface Bar {
  row: number;
  axis: 'x' | 'y';
  low: number;
  high: number;
  /** Where the mean of fresh seeds is; NaN without. */
  mean: number;
}

/** Return a bar's line, its two caps, and a longer one at the mean of fresh seeds. */
export function linesOf({ axis, low, high, mean }: Bar, x: number, y: number): [number, number, number, number][] {
  const caps: [number, number][] = [[low, 3], [high, 3], ...(Number.isNaN(mean) ? [] : [[mean, 6] as [number, number]])];
  if (axis === 'y') return [[x, low, x, high], ...caps.map(([at, half]): [number, number, number, number] => [x - half, at, x + half, at])];
  return [[low, y, high, y], ...caps.map(([at, half]): [number, number, number, number] => [at, y - half, at, y + half])];
}

/** Return the intervals of the front's candidates and of the focused one, in pixels. */
export function bars(model: Model, frame: Frame): Bar[] {
  const { sweep, view } = model;
  const focus = model.rowOf.get(view.focus);
  const rows = model.front.length > MOST_BARS ? [] : [...model.front];
  if (focus !== undefined && !rows.includes(focus)) rows.push(focus);
  return [...barsOf(sweep, rows, view.x, 'x', frame.x), ...barsOf(sweep, rows, view.y, 'y', frame.y)];
}

function barsOf(sweep: Sweep, rows: number[], measure: string, axis: 'x' | 'y', scale: AxisScale): Bar[] {
  const [low, high, mean] = [sweep.low.get(measure), sweep.high.get(measure), sweep.mean.get(measure)];
  if (!low || !high) return [];
  return rows
    .map((row) => ({ row, axis, low: toPixel(scale, low[row]), high: toPixel(scale, high[row]), mean: toPixel(scale, mean?.[row] ?? NaN) }))
    .filter((bar) => !Number.isNaN(bar.low + bar.high));
}

function drawBaselines(context: CanvasRenderingContext2D, { frame, placed, palette }: Picture, labels: Labels): void {
  const { sweep, view } = placed[0].model;
  if (!view.layers.has('baselines')) return;
  for (const baseline of sweep.baselines) {
    const [x, y] = [toPixel(frame.x, baseline.values.get(view.x) ?? NaN), toPixel(frame.y, baseline.values.get(view.y) ?? NaN)];
    const isTeacher = baseline.kind === 'teacher';
    const colour = isTeacher ? palette.teacher : palette.baseline;
    drawMark(context, isTeacher ? 'star' : 'diamond', x, y, isTeacher ? 10 : 7, { fill: colour, stroke: palette.surface });
    label(context, palette, baselineName(baseline.kind), [x, y], frame, labels);
  }
}

/** Return a kind of baseline in words. */
export function baselineName(kind: string): string {
  return kind === 'label_only' ? 'label-only baseline' : kind.replaceAll('_', ' ');
}

function drawChoices(context: CanvasRenderingContext2D, { frame, placed, palette }: Picture, labels: Labels): void {
  const { model, xs, ys } = placed[0];
  if (!model.view.layers.has('choices')) return;
  for (const [row, names] of namesByRow(model)) {
    drawMark(context, 'ring', xs[row], ys[row], 9, { stroke: palette.choice, width: 2 });
    const text = frame.width < NARROW && names.length > 1 ? `${names[0]} +${names.length - 1}` : names.join(', ');
    label(context, palette, text, [xs[row], ys[row]], frame, labels);
  }
  const champion = model.sweep.champion;
  if (champion >= 0) drawMark(context, 'diamond', xs[champion], ys[champion], 12, { stroke: palette.choice, width: 2 });
}

/** Return the names of the policies that take a row, by row. */
export function namesByRow(model: Model): Map<number, string[]> {
  const found = new Map<number, string[]>();
  for (const { policy, row } of model.choices) {
    if (row >= 0) found.set(row, [...(found.get(row) ?? []), policy.name]);
  }
  return found;
}

const OFFSETS = [-14, 23, -28, 37, -42, 51]; // pixels from a mark to its label's line

function label(
  context: CanvasRenderingContext2D, palette: Palette, text: string, [x, y]: [number, number], frame: Frame, labels: Labels,
): void {
  if (Number.isNaN(x + y)) return;
  const shown = text.length > 48 ? `${text.slice(0, 47)}…` : text;
  const half = context.measureText(shown).width / 2 + 3;
  const at = Math.max(frame.left + half, Math.min(frame.right - half, x));
  const isFree = (line: number): boolean =>
    line > frame.top + 2 && line < frame.bottom + 4 && !labels.some((one) => Math.abs(one.y - line) < 14 && one.left < at + half && one.right > at - half);
  const line = OFFSETS.map((offset) => y + offset).find(isFree);
  if (line === undefined) return;
  labels.push({ left: at - half, right: at + half, y: line });
  context.textAlign = 'center';
  context.lineWidth = 3;
  context.strokeStyle = palette.surface;
  context.strokeText(shown, at, line);
  context.fillStyle = palette.ink;
  context.fillText(shown, at, line);
}

interface Ink {
  fill?: string;
  stroke?: string;
  width?: number;
}

/** Draw one mark; nothing where its place is not a number. */
export function drawMark(context: CanvasRenderingContext2D, mark: Mark, x: number, y: number, radius: number, ink: Ink): void {
  if (Number.isNaN(x + y)) return;
  path(context, mark, x, y, radius);
  if (ink.fill) {
    context.fillStyle = ink.fill;
    context.fill();
  }
  if (ink.stroke) {
    context.strokeStyle = ink.stroke;
    context.lineWidth = ink.width ?? 1.5;
    context.stroke();
  }
}
