/** The picture as PNG or SVG, and the shown candidates as CSV. */

import { column, STATES } from '../data/snapshot';
import { drawPicture, type Picture } from '../draw/picture';
import { svgOf } from '../draw/svg';
import { settingText } from '../view/format';
import { visibleRows, type Model } from '../view/model';
import { h } from './dom';

/** Save the shown candidates, all columns, with the numbers as the snapshot has them. */
export function downloadCsv(model: Model): void {
  save(new Blob([csvOf(model)], { type: 'text/csv' }), `${fileName(model)}.csv`);
}

/** Return the shown candidates as CSV by RFC 4180. */
export function csvOf(model: Model): string {
  const { sweep } = model;
  const measures = [...sweep.values.keys()];
  const head = ['candidate', 'state', 'run_id', ...measures, ...sweep.settings.map(({ name }) => name)];
  const lines = Array.from(visibleRows(model), (row) => [
    sweep.ids[row],
    STATES[sweep.states[row]],
    sweep.runIds[row],
    ...measures.map((name) => numberText(column(sweep, name)[row])),
    ...sweep.settings.map((setting) => (setting.kind === 'choice' ? settingCell(setting, row) : numberText(setting.values[row]))),
  ]);
  return [head, ...lines].map((cells) => cells.map(quoted).join(',')).join('\r\n') + '\r\n';
}

function settingCell(setting: Model['sweep']['settings'][number], row: number): string {
  return Number.isNaN(setting.values[row]) ? '' : settingText(setting, setting.values[row]);
}

const numberText = (value: number): string => (Number.isNaN(value) ? '' : String(value));

const FORMULA = /^\s*[=+\-@＝＋－＠\t\r]/;
const WITHIN = /([;\t\r\n])(?=\s*[=+\-@＝＋－＠])/g; // where a spreadsheet may split a cell

/** Quote a cell that no spreadsheet takes for a formula; the rule is that of `tutelage.escaping.for_csv`. */
export function quoted(cell: string): string {
  const text = isNumber(cell) ? cell : (FORMULA.test(cell) ? `'${cell}` : cell).replace(/\r\n?/g, '\n').replace(WITHIN, "$1'");
  return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

const isNumber = (cell: string): boolean => cell !== '' && cell === cell.trim() && !Number.isNaN(Number(cell));

/** Save the picture as PNG, at twice the pixels of the page. */
export function downloadPng(picture: Picture): void {
  const ratio = 2;
  const canvas = h('canvas', { width: picture.frame.width * ratio, height: picture.frame.height * ratio });
  drawPicture(canvas, { ...picture, ratio });
  canvas.toBlob((blob) => {
    if (blob) save(blob, `${fileName(picture.placed[0].model)}.png`);
  });
}

/** Save the picture as SVG. */
export function downloadSvg(picture: Picture): void {
  save(new Blob([svgOf(picture)], { type: 'image/svg+xml' }), `${fileName(picture.placed[0].model)}.svg`);
}

function fileName({ sweep, view }: Model): string {
  return `${sweep.name}-${view.y}-by-${view.x}`.replace(/[^\p{L}\p{N}_.-]+/gu, '_').slice(0, 100);
}

function save(blob: Blob, name: string): void {
  const address = URL.createObjectURL(blob);
  const link = h('a', { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => {
    URL.revokeObjectURL(address);
  }, 10_000);
}
