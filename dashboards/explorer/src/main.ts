/** The explorer: opens the sweep that the address names, and keeps the page and the address in step with it. */

import 'uplot/dist/uPlot.min.css';
import './style.css';
import { fetchChanges, fetchDetail, fetchSession, fetchSweep, fetchSweeps, type Detail } from './data/api';
import type { Sweep } from './data/snapshot';
import { Store, type Part } from './ui/app';
import { CardPart } from './ui/card';
import { ControlsPart } from './ui/controls';
import { CurvesPart } from './ui/curves';
import { h, setText } from './ui/dom';
import { downloadCsv, downloadPng, downloadSvg } from './ui/download';
import { FiltersPart } from './ui/filters';
import { HeaderPart, type HeaderActions } from './ui/header';
import { HistoryPart } from './ui/history';
import { LimitsPart } from './ui/limits';
import { ParallelPart } from './ui/parallel';
import { confirmPromotion, keepToken } from './ui/promote';
import { ScatterPart } from './ui/scatter';
import { SlicesPart } from './ui/slices';
import { TablePart } from './ui/table';
import { fromHash, runsOfHash, toHash, type View } from './view/view';

const LIVE_MS = 3000; // between two looks at a running sweep
const ASIDE_MS = 120; // after the last change of the view, until the parts beside the picture follow in a large sweep
const LARGE = 20_000; // candidates

class Page {
  private store: Store | null = null;
  private readonly live = h('p', { class: 'visually-hidden', 'aria-live': 'polite', id: 'live' });
  private readonly details = new Map<string, Promise<Detail>>();
  private aside: ReturnType<typeof setTimeout> | undefined;
  private shownHash = '';
  private numOpened = 0;
  private numOverlaid = 0;
  private numOpening = 0; // that have not ended
  private readonly header: HeaderPart;
  private readonly scatter: ScatterPart;
  private readonly card: CardPart;
  private readonly quick: Part[];
  private readonly later: Part[];
  private readonly recoloured: { recolour(): void }[];
  private theme = '';

  constructor(private readonly root: HTMLElement) {
    const actions: HeaderActions = {
      change: (changed) => { this.change(changed); },
      announce: (text) => { this.announce(text); },
      detail: (id) => this.detail(id),
      promote: (id) => { confirmPromotion(this.store!.model.sweep.runId, this.store!.model.sweep.name, id, () => void this.reread()); },
      open: (runId) => { void this.open(`sweep=${encodeURIComponent(runId)}`); },
      overlay: (runId) => { void this.overlay(runId); },
      download: (kind) => { this.download(kind); },
    };
    this.header = new HeaderPart(actions);
    this.scatter = new ScatterPart(actions);
    this.card = new CardPart(actions);
    const [filters, limits, table] = [new FiltersPart(actions), new LimitsPart(actions), new TablePart(actions)];
    const controls = new ControlsPart(actions, filters.element);
    const [parallel, slices, history, curves] = [new ParallelPart(actions), new SlicesPart(actions), new HistoryPart(), new CurvesPart(actions)];
    this.quick = [this.header, controls, filters, limits, this.scatter];
    this.later = [this.card, table, parallel, curves, slices, history];
    this.recoloured = [this.scatter, parallel, history, curves];
    const picture = h('section', { class: 'card picture', 'aria-label': 'The front' }, controls.element, this.scatter.element);
    const pair = h('div', { class: 'pair' }, curves.element, history.element);
    const side = h('div', { class: 'side' }, limits.element, this.card.element);
    const main = h('main', {}, picture, side, h('div', { class: 'rest' }, parallel.element, table.element, pair, slices.element));
    this.root.append(this.header.element, main, this.live);
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => { this.recolour(); });
    window.addEventListener('hashchange', () => {
      if (location.hash.slice(1) !== this.shownHash) void this.open(location.hash);
    });
  }

  async start(): Promise<void> {
    keepToken();
    fetchSession().then((session) => { this.card.session = session; this.store?.publish(); }, () => undefined);
    await this.open(location.hash);
    setInterval(() => void this.refresh(), LIVE_MS);
  }

  /** Show the sweep and view of a hash; without a sweep in it, the latest of the store. */
  private async open(hash: string): Promise<void> {
    const place = ++this.numOpened; // a later one than this may be opened while this one loads
    this.numOpening++;
    try {
      const named = runsOfHash(hash).sweep;
      if (named) this.listSweeps().catch(() => undefined); // the sweep itself is shown all the same
      const runId = named || (await this.listSweeps())[0]?.runId;
      if (!runId) {
        this.header.showProblem('This store has no sweep yet. Start one with “tutelage sweep”, and reload.');
        return;
      }
      const sweep = this.store?.model.sweep.runId === runId ? this.store.model.sweep : await fetchSweep(runId);
      if (place !== this.numOpened) return;
      this.show(sweep, fromHash(hash, sweep));
      await this.overlay(runsOfHash(hash).overlay);
    } catch (error) {
      if (place !== this.numOpened) return;
      this.header.showProblem(error instanceof Error ? error.message : String(error));
    } finally {
      this.numOpening--;
    }
  }

  private async listSweeps(): Promise<{ runId: string }[]> {
    const lines = await fetchSweeps();
    this.header.setSweeps(lines);
    return lines;
  }

  private show(sweep: Sweep, view: View): void {
    this.header.showProblem('');
    this.details.clear();
    if (this.store?.model.sweep.runId === sweep.runId) {
      this.store.change(view);
      return;
    }
    const store = new Store(sweep, view);
    this.store = store;
    store.listen(() => {
      if (this.store === store) this.draw();
    });
    this.draw();
  }

  private change(changed: Partial<View>): void {
    this.store?.change(changed);
  }

  /** The picture and the limits follow at once; in a large sweep the other parts once the view rests. */
  private draw(): void {
    const { model, overlay } = this.store!;
    this.setTheme(model.view.theme);
    for (const part of this.quick) part.update(model, overlay);
    clearTimeout(this.aside);
    const isLarge = model.sweep.n > LARGE;
    this.aside = setTimeout(() => { this.drawLater(); }, isLarge ? ASIDE_MS : 0);
  }

  private drawLater(): void {
    const { model, overlay } = this.store!;
    for (const part of this.later) part.update(model, overlay);
    this.shownHash = toHash(model.view, model.sweep);
    if (location.hash.slice(1) !== this.shownHash) history.replaceState(null, '', `#${this.shownHash}`);
  }

  private setTheme(theme: string): void {
    if (theme === this.theme) return;
    this.theme = theme;
    if (theme === 'auto') delete document.documentElement.dataset['theme'];
    else document.documentElement.dataset['theme'] = theme;
    this.recolour();
  }

  private recolour(): void {
    for (const part of this.recoloured) part.recolour();
  }

  private async overlay(runId: string): Promise<void> {
    const { store } = this;
    const place = ++this.numOverlaid; // another sweep may be chosen while this one loads
    if (!store || (runId === '' && !store.overlay && store.model.view.overlay === '')) return;
    try {
      const sweep = runId === '' ? null : await fetchSweep(runId);
      if (this.store !== store || place !== this.numOverlaid) return;
      this.header.showProblem('');
      store.change({ overlay: runId });
      store.setOverlay(sweep);
    } catch (error) {
      if (this.store !== store || place !== this.numOverlaid) return;
      store.publish(); // the list of sweeps shows again which one is drawn
      this.header.showProblem(error instanceof Error ? error.message : String(error));
    }
  }

  /** Take what a running sweep has gained; a server that is away is asked again, also for the first sweep. */
  private async refresh(): Promise<void> {
    const { store } = this;
    if (!store && !document.hidden && this.numOpening === 0) await this.open(location.hash);
    if (!store || document.hidden || store.model.sweep.state !== 'running') return;
    const { sweep } = store.model;
    try {
      const changed = await fetchChanges(sweep);
      this.header.showProblem('');
      if (changed === sweep || this.store !== store || store.model.sweep !== sweep) return;
      store.setSweep(changed);
      if (changed.n > sweep.n) this.announce(`${changed.n - sweep.n} more candidates, ${store.model.front.length} on the front`);
    } catch (error) {
      this.header.showProblem(error instanceof Error ? error.message : String(error));
    }
  }

  /** Read the whole sweep again: a promotion has changed its selection and its intervals. */
  private async reread(): Promise<void> {
    const { store } = this;
    const sweep = store && (await fetchSweep(store.model.sweep.runId).catch(() => null));
    if (sweep && this.store === store) store.setSweep(sweep);
  }

  private detail(id: string): Promise<Detail> {
    const known = this.details.get(id);
    if (known) return known;
    const found = fetchDetail(this.store!.model.sweep.runId, id);
    this.details.set(id, found);
    found.catch(() => this.details.delete(id));
    return found;
  }

  private announce(text: string): void {
    setText(this.live, text);
  }

  private download(kind: 'png' | 'svg' | 'csv'): void {
    const { picture } = this.scatter;
    if (kind === 'csv' && this.store) downloadCsv(this.store.model);
    if (kind === 'png' && picture) downloadPng(picture);
    if (kind === 'svg' && picture) downloadSvg(picture);
  }
}

document.querySelector('[data-skip]')?.addEventListener('click', (event) => {
  event.preventDefault();
  document.querySelector<HTMLElement>('.stage')?.focus();
});
void new Page(document.querySelector<HTMLElement>('#app')!).start();
