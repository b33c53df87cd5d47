/** The page's head: which sweep, how far it is, a sweep drawn over it, downloads, theme. */

import type { SweepLine } from '../data/api';
import type { Sweep } from '../data/snapshot';
import { duration, grouped, short } from '../view/format';
import type { Model } from '../view/model';
import type { Theme } from '../view/view';
import type { Actions, Part } from './app';
import { h, renew, setText } from './dom';

export interface HeaderActions extends Actions {
  open(runId: string): void;
  overlay(runId: string): void;
  download(kind: 'png' | 'svg' | 'csv'): void;
}

export class HeaderPart implements Part {
  readonly element: HTMLElement;
  private readonly sweeps: HTMLSelectElement;
  private readonly overlays: HTMLSelectElement;
  private readonly theme: HTMLSelectElement;
  private readonly state = h('span', { class: 'state' });
  private readonly facts = h('p', { class: 'facts' });
  private readonly notes = h('ul', { class: 'notes' });
  private readonly problem = h('p', { class: 'problem', role: 'alert', hidden: true });
  private lines: SweepLine[] = [];

  constructor(actions: HeaderActions) {
    this.sweeps = h('select', { 'aria-label': 'Sweep', onchange: () => { actions.open(this.sweeps.value); } });
    this.overlays = h('select', { onchange: () => { actions.overlay(this.overlays.value); } });
    const themes = (['auto', 'light', 'dark'] as const).map((name) => h('option', { value: name }, name));
    this.theme = h('select', { onchange: () => { actions.change({ theme: this.theme.value as Theme }); } }, ...themes);
    const download = (kind: 'png' | 'svg' | 'csv'): HTMLElement =>
      h('button', { type: 'button', class: 'quiet-button', onclick: () => { actions.download(kind); } }, kind.toUpperCase());
    const title = h('div', { class: 'title' }, h('h1', {}, h('span', { class: 'brand' }, 'Tutelage'), this.sweeps), this.state);
    const tools = h(
      'div',
      { class: 'tools' },
      h('label', {}, h('span', {}, 'Compare with'), this.overlays),
      h('div', { class: 'group', role: 'group', 'aria-label': 'Download' }, h('span', {}, 'Download'), download('png'), download('svg'), download('csv')),
      h('label', {}, h('span', {}, 'Theme'), this.theme),
    );
    this.element = h('header', {}, h('div', { class: 'head-row' }, title, tools), this.facts, this.notes, this.problem);
  }

  setSweeps(lines: SweepLine[]): void {
    if (JSON.stringify(lines) === JSON.stringify(this.lines)) return;
    this.lines = lines;
    const options = (): HTMLElement[] => lines.map((line) => h('option', { value: line.runId }, line.name));
    const [sweep, overlay] = [this.sweeps.value, this.overlays.value];
    this.sweeps.replaceChildren(...options());
    this.overlays.replaceChildren(h('option', { value: '' }, 'no other sweep'), ...options());
    this.sweeps.value = sweep;
    this.overlays.value = overlay;
  }

  update({ sweep, view }: Model): void {
    if (!this.lines.some((line) => line.runId === sweep.runId)) {
      this.setSweeps([{ name: sweep.name, runId: sweep.runId, state: sweep.state, n: sweep.n }, ...this.lines]);
    }
    this.sweeps.value = sweep.runId;
    this.overlays.value = view.overlay;
    this.theme.value = view.theme;
    setText(this.state, sweep.state);
    this.state.dataset['state'] = sweep.state;
    setText(this.facts, factsOf(sweep));
    renew(this.notes, sweep.notes.map((note) => h('li', {}, note)));
    document.title = `${sweep.name} · Tutelage explorer`;
  }

  /** Show what is wrong, or nothing for "". */
  showProblem(text: string): void {
    setText(this.problem, text);
    this.problem.hidden = text === '';
  }
}

function factsOf(sweep: Sweep): string {
  const primary = sweep.measures.get(sweep.primary)!;
  const hasEnded = sweep.state !== 'running' && !Number.isNaN(sweep.elapsed);
  const worked = hasEnded ? sweep.elapsed : sweep.updatedAt - sweep.startedAt; // a selection days later updates the snapshot too
  const parts = [
    [sweep.task.replaceAll('_', ' '), sweep.data].filter((text) => text !== '').join(' on '),
    `${grouped(sweep.n)} candidates${Number.isNaN(sweep.numTrials) ? '' : ` of ${grouped(sweep.numTrials)} trials`}`,
    Number.isNaN(worked) ? '' : `after ${duration(worked)}`,
    sweep.seed === '' ? '' : `seed ${sweep.seed}`,
    ...sweep.running.slice(0, 4).map((one) => {
      const epoch = Number.isNaN(one.epoch) ? '' : `, epoch ${one.epoch}`;
      return `${one.id} trains${epoch}${Number.isNaN(one.value) ? '' : `, ${short(primary, one.value)}`}`;
    }),
  ];
  return parts.filter((part) => part !== '').join(' · ');
}
