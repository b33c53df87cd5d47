/** The hypervolume of the sweep's front, as candidates ended and over time. */

import type uPlot from 'uplot';
import { FINISHED, type Sweep } from '../data/snapshot';
import { fits } from '../math/limits';
import { GrowingHypervolume } from '../math/hypervolume';
import { lossesOf, referenceLosses } from '../math/policies';
import { compact, duration, grouped } from '../view/format';
import type { Model } from '../view/model';
import type { Part } from './app';
import { h, setText } from './dom';
import { lineChart, type Line } from './chart';
import { readPalette } from '../draw/palette';

const CHUNK = 4000; // rows at a time, so that the page answers in between
const MOST_POINTS = 2000;

export class HistoryPart implements Part {
  readonly element: HTMLElement;
  private readonly note = h('p', { class: 'summary' });
  private readonly place = h('div', { class: 'chart', role: 'img', 'aria-label': 'Hypervolume of the front' });
  private readonly overTime: HTMLInputElement;
  private readonly series = new WeakMap<Sweep, Promise<Float64Array>>();
  private chart: uPlot | null = null;
  private shown: unknown[] = [];
  private isVisible = false;
  private last: [Model, Model | null] | null = null;

  constructor() {
    this.overTime = h('input', { type: 'checkbox', onchange: () => { this.refresh(); } });
    this.element = h(
      'section',
      { class: 'card', 'aria-labelledby': 'history-title' },
      h('div', { class: 'title-row' }, h('h2', { id: 'history-title' }, 'Hypervolume'), h('label', { class: 'check' }, this.overTime, 'Over time')),
      this.note,
      this.place,
    );
    new IntersectionObserver((entries) => {
      this.isVisible = entries.some((entry) => entry.isIntersecting);
      this.refresh();
    }).observe(this.element);
    new ResizeObserver(() => { this.chart?.setSize({ width: this.place.clientWidth, height: 230 }); }).observe(this.place);
  }

  update(model: Model, overlay: Model | null): void {
    this.last = [model, overlay];
    this.refresh();
  }

  recolour(): void {
    this.shown = [];
    this.refresh();
  }

  private refresh(): void {
    if (!this.isVisible || !this.last) return;
    const [model, overlay] = this.last;
    const now = [model.sweep, overlay?.sweep, this.overTime.checked];
    if (now.every((value, place) => value === this.shown[place]) && this.shown.length > 0) return;
    this.shown = now;
    void this.show(model.sweep, overlay?.sweep ?? null, now);
  }

  private async show(sweep: Sweep, overlay: Sweep | null, now: unknown[]): Promise<void> {
    const sweeps = overlay ? [sweep, overlay] : [sweep];
    if (referenceLosses(sweep).some(Number.isNaN)) {
      setText(this.note, 'The snapshot has no reference point for every objective, so there is no hypervolume.');
      return;
    }
    const series = await Promise.all(sweeps.map((one) => this.seriesOf(one)));
    if (now !== this.shown) return;
    setText(this.note, noteText(sweep, series[0]));
    this.draw(sweeps, series);
  }

  private seriesOf(sweep: Sweep): Promise<Float64Array> {
    const known = this.series.get(sweep) ?? hypervolumes(sweep);
    this.series.set(sweep, known);
    return known;
  }

  private draw(sweeps: Sweep[], series: Float64Array[]): void {
    const palette = readPalette();
    const isTime = this.overTime.checked;
    const xs = sweeps.map((sweep) => Float64Array.from(sweep.ids, (_, row) => (isTime ? sweep.finishedAt[row] - sweep.startedAt : row + 1)));
    const lines = sweeps.map((sweep, place): Line => ({
      label: sweep.name, colour: place === 0 ? palette.front : palette.overlay, isStepped: true, dash: place === 0 ? [] : [6, 4],
    }));
    this.place.setAttribute('aria-label', sweeps.map((sweep, place) => seriesText(sweep, series[place], isTime)).join('; '));
    this.chart?.destroy();
    this.chart = lineChart(this.place, aligned(xs.map((values) => values.map((x) => (isTime ? x / 60_000 : x))), series), lines, {
      xLabel: isTime ? 'minutes since the start' : 'candidates that ended', isTime: false, yText: compact,
    });
  }
}

function noteText(sweep: Sweep, series: Float64Array): string {
  const point = sweep.objectives.map((name) => `${sweep.measures.get(name)!.label} ${compact(sweep.measures.get(name)!.reference ?? NaN)}`).join(', ');
  const last = series.length > 0 ? compact(series[series.length - 1]) : '0';
  return `Now ${last}: what the front dominates up to the reference point (${point}), under the sweep’s own constraints.`;
}

/** Return a sweep's series in words, which is what is heard in place of the chart. */
function seriesText(sweep: Sweep, series: Float64Array, isTime: boolean): string {
  const last = sweep.n - 1;
  if (last < 0) return `${sweep.name}: no candidate has ended`;
  const endedAt = sweep.finishedAt.findLast(Number.isFinite) ?? NaN; // a student that was never trained has no time
  const end = isTime && Number.isFinite(endedAt - sweep.startedAt) ? `after ${duration(endedAt - sweep.startedAt)}` : `after ${grouped(sweep.n)} candidates`;
  const half = series.findIndex((value) => value >= series[last] / 2);
  return `${sweep.name}: hypervolume ${compact(series[0])} with the first candidate, half of its end with candidate ${half + 1}, ${compact(series[last])} ${end}`;
}

/** Return the hypervolume after each row. */
async function hypervolumes(sweep: Sweep): Promise<Float64Array> {
  const isCandidate = fits(sweep, sweep.constraints, sweep.objectives);
  const growing = new GrowingHypervolume(referenceLosses(sweep));
  const found = new Float64Array(sweep.n);
  for (let start = 0; start < sweep.n; start += CHUNK) {
    const rows = Array.from({ length: Math.min(CHUNK, sweep.n - start) }, (_, place) => start + place);
    lossesOf(sweep, rows).forEach((losses, place) => {
      const row = rows[place];
      found[row] = isCandidate[row] && sweep.states[row] === FINISHED ? growing.add(losses) : growing.volume;
    });
    if (start + CHUNK < sweep.n) await new Promise((go) => setTimeout(go));
  }
  return found;
}

/** Return columns over one sorted x: uPlot draws several lines over the same x values. Long ones keep where they change. */
function aligned(xs: Float64Array[], series: Float64Array[]): [number[], ...(number | null)[][]] {
  const points = new Map<number, (number | null)[]>();
  xs.forEach((values, line) => {
    const every = Math.max(1, Math.floor(values.length / MOST_POINTS));
    values.forEach((x, row) => {
      const isKept = row % every === 0 || row === values.length - 1 || series[line][row] !== series[line][row - 1];
      if (!isKept || !Number.isFinite(x)) return;
      const cells = points.get(x) ?? new Array<number | null>(xs.length).fill(null);
      cells[line] = series[line][row];
      points.set(x, cells);
    });
  });
  const sorted = [...points].sort(([a], [b]) => a - b);
  return [sorted.map(([x]) => x), ...xs.map((_, line) => sorted.map(([, cells]) => cells[line]))];
}
