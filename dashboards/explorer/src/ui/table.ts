/** The shown candidates as a table; only the lines in sight are in the page, so that 100,000 cost what 30 do. */

import { FINISHED, knownColumn } from '../data/snapshot';
import { full, grouped, labelWithUnit, settingText } from '../view/format';
import { dimension, stateText, visibleRows, type Model } from '../view/model';
import type { Actions, Part } from './app';
import { h, inNextFrame, setText } from './dom';
import { toggled } from './scatter';

const LINE = 34; // pixels
const SPARE = 6; // lines beyond the edge

interface TableColumn {
  key: string;
  label: string;
  text(model: Model, row: number): string;
  isNumber: boolean;
}

export class TablePart implements Part {
  readonly element: HTMLElement;
  private readonly scroller: HTMLElement;
  private readonly head = h('tr', { 'aria-rowindex': 1 });
  private readonly body = h('tbody');
  private readonly table: HTMLTableElement;
  private readonly count = h('p', { class: 'summary' });
  private columns: TableColumn[] = [];
  private refocused = -1; // the row whose line had the focus before all lines were made anew
  private isStale = false; // whether the lines may have another text now
  private model: Model | null = null;
  private rows: Uint32Array = new Uint32Array();
  private readonly lines = new Map<number, HTMLTableRowElement>();
  private readonly orders = new Map<string, Uint32Array>();
  private readonly showSoon = inNextFrame(() => {
    this.show();
  });
  private readonly before = h('tr', { 'aria-hidden': 'true' }, h('td'));
  private readonly after = h('tr', { 'aria-hidden': 'true' }, h('td'));

  constructor(private readonly actions: Actions) {
    this.table = h('table', { 'aria-labelledby': 'table-title' }, h('thead', {}, this.head), this.body);
    this.scroller = h('div', { class: 'scroller', onscroll: () => { this.showSoon(); }, onkeydown: (event: KeyboardEvent) => { this.key(event); } }, this.table);
    this.body.append(this.before, this.after);
    this.element = h('section', { class: 'card', 'aria-labelledby': 'table-title' }, h('h2', { id: 'table-title' }, 'Candidates'), this.count, this.scroller);
    new ResizeObserver(() => { this.showSoon(); }).observe(this.scroller);
  }

  update(model: Model): void {
    const last = this.model;
    this.model = model;
    const isNew = last?.sweep !== model.sweep;
    if (isNew) this.orders.clear();
    if (isNew && columnsKey(model) !== this.columns.map(({ key }) => key).join(' ')) this.setColumns(model);
    const hasSameRows = !isNew && last.classes === model.classes && last.isBrushed === model.isBrushed && last.view.sort === model.view.sort;
    if (!hasSameRows) this.sort(model);
    this.isStale ||= !hasSameRows || last.choices !== model.choices;
    if (last && last.view.focus !== model.view.focus) this.reveal(model);
    this.showSoon();
  }

  private setColumns(model: Model): void {
    this.columns = columnsOf(model);
    this.head.replaceChildren(...this.columns.map((column) => this.headCell(column)));
    this.table.setAttribute('aria-colcount', String(this.columns.length));
    for (const spacer of [this.before, this.after]) spacer.firstElementChild!.setAttribute('colspan', String(this.columns.length));
    this.forget();
  }

  private headCell(column: TableColumn): HTMLElement {
    const sort = (): void => {
      const { sort } = this.model!.view;
      this.actions.change({ sort: { column: column.key, isDescending: sort.column === column.key ? !sort.isDescending : column.isNumber } });
    };
    return h('th', { scope: 'col', 'data-key': column.key, class: column.isNumber ? 'number' : '' }, h('button', { type: 'button', onclick: sort }, column.label));
  }

  private sort(model: Model): void {
    const { view, sweep } = model;
    const visible = visibleRows(model);
    const isShown = new Uint8Array(sweep.n);
    for (const row of visible) isShown[row] = 1;
    this.rows = this.order(model).filter((row) => isShown[row] === 1);
    for (const cell of this.head.children) {
      const isSorted = cell.getAttribute('data-key') === view.sort.column;
      if (isSorted) cell.setAttribute('aria-sort', view.sort.isDescending ? 'descending' : 'ascending');
      else cell.removeAttribute('aria-sort');
    }
    this.table.setAttribute('aria-rowcount', String(this.rows.length + 1));
    setText(this.count, `${grouped(this.rows.length)} of ${grouped(sweep.n)} candidates, in step with the picture’s limits and filter.`);
  }

  /** Return all rows in the view's order; missing values stand last. */
  private order(model: Model): Uint32Array {
    const { column, isDescending } = model.view.sort;
    const key = `${column} ${String(isDescending)}`;
    const known = this.orders.get(key);
    if (known && column !== 'state') return known; // states change with the limits
    const values = sortValues(model, column);
    const by = isDescending ? -1 : 1;
    const rows = Uint32Array.from({ length: model.sweep.n }, (_, row) => row);
    rows.sort((a, b) => {
      const [left, right] = [values[a], values[b]];
      if (left === right || (left !== left && right !== right)) return a - b;
      if (left !== left) return 1;
      if (right !== right) return -1;
      return left < right ? -by : by;
    });
    this.orders.set(key, rows);
    return rows;
  }

  private forget(): void {
    const focused = document.activeElement?.closest<HTMLElement>('tr[data-row]');
    if (focused && this.body.contains(focused)) this.refocused = Number(focused.dataset['row']);
    for (const line of this.lines.values()) line.remove();
    this.lines.clear();
  }

  private show(): void {
    const { model } = this;
    if (!model || this.columns.length === 0) return;
    const first = Math.max(0, Math.floor(this.scroller.scrollTop / LINE) - SPARE);
    const last = Math.min(this.rows.length, first + Math.ceil(this.scroller.clientHeight / LINE) + 2 * SPARE);
    const wanted = this.rows.subarray(first, last);
    const keep = new Set(wanted);
    for (const [row, line] of this.lines) {
      if (keep.has(row)) continue;
      line.remove();
      this.lines.delete(row);
    }
    let previous: HTMLElement = this.before;
    wanted.forEach((row, place) => {
      const known = this.lines.get(row);
      if (known && this.isStale) this.rewrite(known, model, row);
      const line = known ?? this.line(model, row);
      line.setAttribute('aria-rowindex', String(first + place + 2));
      mark(line, model, row);
      if (previous.nextElementSibling !== line) previous.after(line);
      previous = line;
    });
    this.isStale = false;
    this.before.style.height = `${first * LINE}px`;
    this.after.style.height = `${(this.rows.length - last) * LINE}px`;
    this.lines.get(this.refocused)?.focus({ preventScroll: true });
    this.refocused = -1;
    if (!this.body.querySelector('tr[tabindex="0"]')) this.lines.get(wanted[0])?.setAttribute('tabindex', '0');
  }

  private line(model: Model, row: number): HTMLTableRowElement {
    const cells = this.columns.map((column) => h('td', { class: column.isNumber ? 'number' : '' }, column.text(model, row)));
    const line = h('tr', { 'data-row': row, tabindex: -1, onclick: () => { this.actions.change({ focus: this.model!.sweep.ids[row] }); } }, ...cells);
    this.lines.set(row, line);
    return line;
  }

  /** Change the cells whose text differs: a line that has the focus, or is read aloud, is left as it is. */
  private rewrite(line: HTMLTableRowElement, model: Model, row: number): void {
    this.columns.forEach((column, place) => { setText(line.cells[place], column.text(model, row)); });
  }

  private key(event: KeyboardEvent): void {
    const line = (event.target as HTMLElement).closest<HTMLElement>('tr[data-row]');
    if (!line || !this.model) return;
    const row = Number(line.dataset['row']);
    const place = this.rows.indexOf(row);
    const steps: Record<string, number> = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -this.rows.length, End: this.rows.length };
    if (event.key in steps) this.goTo(Math.max(0, Math.min(this.rows.length - 1, place + steps[event.key])));
    else if (event.key === 'Enter') this.actions.change({ focus: this.model.sweep.ids[row] });
    else if (event.key === ' ') this.actions.change({ chosen: toggled(this.model.view.chosen, this.model.sweep.ids[row]) });
    else return;
    event.preventDefault();
  }

  private goTo(place: number): void {
    this.scrollTo(place);
    this.show();
    const line = this.lines.get(this.rows[place]);
    if (!line) return;
    for (const other of this.lines.values()) other.setAttribute('tabindex', other === line ? '0' : '-1');
    line.focus({ preventScroll: true });
  }

  private scrollTo(place: number): void {
    const head = this.head.offsetHeight;
    const { scrollTop, clientHeight } = this.scroller;
    if (place * LINE < scrollTop) this.scroller.scrollTop = place * LINE;
    else if ((place + 1) * LINE > scrollTop + clientHeight - head) this.scroller.scrollTop = (place + 1) * LINE - clientHeight + head;
  }

  private reveal(model: Model): void {
    const place = this.rows.indexOf(model.rowOf.get(model.view.focus) ?? -1);
    if (place >= 0) this.scrollTo(place);
  }
}

function mark(line: HTMLElement, model: Model, row: number): void {
  const { focus, chosen } = model.view;
  const id = model.sweep.ids[row];
  line.setAttribute('aria-selected', String(id === focus));
  line.classList.toggle('is-chosen', chosen.includes(id));
}

function columnsKey(model: Model): string {
  return columnsOf(model).map(({ key }) => key).join(' ');
}

/** The candidate, its state, its measures with the objectives first, and its settings. */
function columnsOf(model: Model): TableColumn[] {
  const { sweep } = model;
  const names = [...new Set([...sweep.objectives, ...sweep.measures.keys()])].filter((name) => sweep.known.has(name));
  const measures = names.map((name): TableColumn => {
    const measure = sweep.measures.get(name)!;
    return { key: name, label: labelWithUnit(measure), isNumber: true, text: (now, row) => full(measure, knownColumn(now.sweep, name)[row]) };
  });
  const settings = sweep.settings.map(({ name }): TableColumn => ({
    key: `config:${name}`,
    label: name,
    isNumber: false,
    text: (now, row) => {
      const setting = now.sweep.settings.find((one) => one.name === name);
      return setting ? settingText(setting, setting.values[row]) : '–';
    },
  }));
  return [
    { key: 'id', label: 'candidate', isNumber: false, text: (now, row) => now.sweep.ids[row] },
    { key: 'state', label: 'state', isNumber: false, text: stateText },
    ...measures,
    ...settings,
  ];
}

/** Return numbers that sort like a column: candidates by trial, states with the front first. */
function sortValues(model: Model, column: string): ArrayLike<number> {
  const { sweep } = model;
  if (column === 'id') return Float64Array.from(sweep.trial, (trial, row) => trial * 1000 + sweep.candidate[row]);
  if (column === 'state') return Float64Array.from(sweep.states, (state, row) => (state === FINISHED ? 10 - model.classes[row] : 20 + state));
  return dimension(sweep, column);
}
