/** The scatter as an SVG document, from the same places as the canvas. Every text is escaped. */

import { column } from '../data/snapshot';
import { ticks, toPixel } from '../math/scale';
import { tick } from '../view/format';
import { DOMINATED, HIDDEN, INFEASIBLE, ON_FRONT, STOPPED } from '../view/model';
import type { Frame } from './frame';
import { outline } from './marks';
import { axisTitles, bars, baselineName, isOpen, ladders, linesOf, namesByRow, staircase, type Picture, type Placed } from './picture';
import { colourPlace, sequential } from './palette';

const MOST_MARKS = 20_000; // off the front; more make a file that no program opens

/** Return the picture as the text of an SVG file. */
export function svgOf(picture: Picture): string {
  const { frame, palette, placed } = picture;
  const parts = [
    `<rect width="100%" height="100%" fill="${palette.surface}"/>`,
    ...axes(picture),
    `<defs><clipPath id="plot"><rect x="${frame.left - 8}" y="${frame.top - 8}" width="${frame.right - frame.left + 16}" height="${frame.bottom - frame.top + 16}"/></clipPath></defs>`,
    '<g clip-path="url(#plot)">',
    ...placed.flatMap((one, place) => [cloud(picture, one, place), front(picture, one, place)]),
    '</g>',
    baselines(picture),
    choices(picture),
  ];
  const size = `width="${frame.width}" height="${frame.height}" viewBox="0 0 ${frame.width} ${frame.height}"`;
  return `<svg xmlns="http://www.w3.org/2000/svg" ${size} font-family="system-ui, sans-serif" font-size="12">\n${parts.join('\n')}\n</svg>\n`;
}

/** Return text that may stand in a document's text or attributes. */
export function escaped(text: string): string {
  const entities: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };
  // eslint-disable-next-line no-control-regex
  return text.replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/g, '').replace(/[&<>"']/g, (one) => entities[one]);
}

const at = (value: number): string => value.toFixed(1);
const isPlaced = (x: number, y: number): boolean => !Number.isNaN(x + y);
const isInside = (frame: Frame, x: number, y: number): boolean => x >= frame.left && x <= frame.right && y >= frame.top && y <= frame.bottom;

function text(x: number, y: number, content: string, fill: string, anchor: string): string {
  return `<text x="${at(x)}" y="${at(y)}" fill="${fill}" text-anchor="${anchor}">${escaped(content)}</text>`;
}

function axes({ frame, palette, placed }: Picture): string[] {
  const { sweep, view } = placed[0].model;
  const [x, y] = [sweep.measures.get(view.x)!, sweep.measures.get(view.y)!];
  const titles = axisTitles(x, y);
  const across = ticks(frame.x, frame.width / 110).flatMap((value) => {
    const place = toPixel(frame.x, value);
    return [line(place, frame.top, place, frame.bottom, palette.grid), text(place, frame.bottom + 18, tick(x, value), palette.muted, 'middle')];
  });
  const up = ticks(frame.y, frame.height / 70).flatMap((value) => {
    const place = toPixel(frame.y, value);
    return [line(frame.left, place, frame.right, place, palette.grid), text(frame.left - 8, place + 4, tick(y, value), palette.muted, 'end')];
  });
  return [
    ...across,
    ...up,
    text(frame.right, frame.bottom + 38, titles[0], palette.ink, 'end'),
    text(8, frame.top - 18, titles[1], palette.ink, 'start'),
  ];
}

function line(x: number, y: number, toX: number, toY: number, stroke: string): string {
  return `<line x1="${at(x)}" y1="${at(y)}" x2="${at(toX)}" y2="${at(toY)}" stroke="${stroke}"/>`;
}

function cloud({ frame, palette }: Picture, { model, xs, ys }: Placed, place: number): string {
  const rows = [...model.classes.keys()].filter((row) => model.classes[row] !== HIDDEN && model.classes[row] !== ON_FRONT);
  const step = Math.max(1, rows.length / MOST_MARKS);
  const marks: string[] = [];
  for (let index = 0; index < rows.length; index += step) {
    const row = rows[Math.floor(index)];
    if (isInside(frame, xs[row], ys[row])) marks.push(small(model.classes[row], xs[row], ys[row], palette, place));
  }
  return `<g opacity="0.5">${marks.join('')}</g>`;
}

function small(kind: number, x: number, y: number, palette: Picture['palette'], place: number): string {
  if (kind === INFEASIBLE) return `<path d="M${at(x - 3)} ${at(y - 3)}l6 6m0-6l-6 6" stroke="${palette.infeasible}"/>`;
  if (kind === STOPPED) return `<path d="M${at(x)} ${at(y - 4)}l4 7h-8z" fill="${palette.stopped}"/>`;
  const fill = kind === DOMINATED && place > 0 ? palette.overlay : palette.dominated;
  return `<circle cx="${at(x)}" cy="${at(y)}" r="2.5" fill="${fill}"/>`;
}

function front(picture: Picture, one: Placed, place: number): string {
  const { frame, palette } = picture;
  const { model, xs, ys } = one;
  const colour = place === 0 ? palette.front : palette.overlay;
  const colours = sequential(palette.isDark);
  const values = column(model.sweep, model.view.z);
  const steps = frame.z ? '' : stairs(staircase(frame, one), colour, place);
  const links = model.view.layers.has('ladders') ? ladders(model).map(([a, b]) => line(xs[a], ys[a], xs[b], ys[b], palette.muted)) : [];
  const errors = model.view.layers.has('bars') ? bars(model, frame).flatMap((bar) => linesOf(bar, xs[bar.row], ys[bar.row]).map((ends) => line(...ends, colour))) : [];
  const marks = model.front
    .filter((row) => isPlaced(xs[row], ys[row]))
    .map((row) => {
      const own = frame.z ? colours[colourPlace(values[row], frame.z)] : colour;
      const [fill, stroke] = isOpen(model, row) ? [palette.surface, own] : [own, palette.surface];
      return `<circle cx="${at(xs[row])}" cy="${at(ys[row])}" r="5" fill="${fill}" stroke="${stroke}"><title>${escaped(model.sweep.ids[row])}</title></circle>`;
    });
  return `<g>${steps}${links.join('')}${errors.join('')}${marks.join('')}</g>`;
}

function stairs(corners: readonly [number, number][], colour: string, place: number): string {
  const dash = place > 0 ? ' stroke-dasharray="6 4"' : '';
  return `<polyline points="${corners.map(([x, y]) => `${at(x)},${at(y)}`).join(' ')}" fill="none" stroke="${colour}" stroke-width="1.5"${dash}/>`;
}

function baselines({ frame, palette, placed }: Picture): string {
  const { sweep, view } = placed[0].model;
  const shown = view.layers.has('baselines') ? sweep.baselines : [];
  const marks = shown.map((baseline) => {
    const [x, y] = [toPixel(frame.x, baseline.values.get(view.x) ?? NaN), toPixel(frame.y, baseline.values.get(view.y) ?? NaN)];
    if (!isInside(frame, x, y)) return '';
    const isTeacher = baseline.kind === 'teacher';
    const corners = outline(isTeacher ? 'star' : 'diamond', x, y, isTeacher ? 10 : 7).map((corner) => corner.map(at).join(',')).join(' ');
    const fill = isTeacher ? palette.teacher : palette.baseline;
    return `<polygon points="${corners}" fill="${fill}"/>${text(x, y - 13, baselineName(baseline.kind), palette.ink, 'middle')}`;
  });
  return marks.join('');
}

function choices({ frame, palette, placed }: Picture): string {
  const { model, xs, ys } = placed[0];
  if (!model.view.layers.has('choices')) return '';
  const marks = [...namesByRow(model)].filter(([row]) => isInside(frame, xs[row], ys[row])).map(([row, names]) => {
    const ring = `<circle cx="${at(xs[row])}" cy="${at(ys[row])}" r="9" fill="none" stroke="${palette.choice}" stroke-width="2"/>`;
    return ring + text(xs[row], ys[row] + 22, names.join(', '), palette.ink, 'middle');
  });
  return marks.join('');
}
