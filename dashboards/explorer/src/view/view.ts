/** What a person looks at: axes, limits, brushed ranges and chosen candidates. All of it stands in the address's hash. */

import { strictest } from '../data/parse';
import { type Limit, type Sweep } from '../data/snapshot';

export const LAYERS = ['dominated', 'infeasible', 'stopped', 'baselines', 'bars', 'ladders', 'choices'] as const;
export type Layer = (typeof LAYERS)[number];
export type Theme = 'auto' | 'light' | 'dark';
export type Range = readonly [number, number];

export interface View {
  sweep: string;
  /** The run of a second sweep, drawn over the first; "" without. */
  overlay: string;
  x: string;
  y: string;
  /** The measure shown as colour; "" without. */
  z: string;
  logX: boolean;
  logY: boolean;
  layers: ReadonlySet<Layer>;
  limits: readonly Limit[];
  /** Ranges by dimension: a measure's name, or `config:` and a setting's. */
  brush: ReadonlyMap<string, Range>;
  zoom: { x: Range; y: Range } | null;
  /** Ids of the candidates whose curves are compared. */
  chosen: readonly string[];
  /** The id of the candidate whose card is shown; "" without. */
  focus: string;
  sort: { column: string; isDescending: boolean };
  /** The measure of slices and importance. */
  sliced: string;
  theme: Theme;
}

/** The number of candidates that are compared at a time; of more, those chosen last. */
export const MOST_CHOSEN = 8;

const DEFAULT_LAYERS: readonly Layer[] = ['dominated', 'baselines', 'bars', 'choices'];

/** Return the view that a sweep opens with. */
export function defaultView(sweep: Sweep): View {
  const other = sweep.objectives.filter((name) => name !== sweep.primary);
  const isLog = (name: string): boolean => sweep.measures.get(name)?.scale === 'log10';
  return {
    sweep: sweep.runId,
    overlay: '',
    x: other[0],
    y: sweep.primary,
    z: other[1] ?? '',
    logX: isLog(other[0]),
    logY: isLog(sweep.primary),
    layers: new Set(DEFAULT_LAYERS),
    limits: sweep.limits,
    brush: new Map(),
    zoom: null,
    chosen: [],
    focus: '',
    sort: { column: sweep.primary, isDescending: sweep.measures.get(sweep.primary)?.direction === 'maximise' },
    sliced: sweep.primary,
    theme: 'auto',
  };
}

/** Return the measures whose front is shown: those of the axes. */
export function shownMeasures(view: View): string[] {
  return view.z && view.z !== view.x && view.z !== view.y ? [view.x, view.y, view.z] : [view.x, view.y];
}

/** Return the view as the text of a hash; what is as `defaultView` has it is left out. */
export function toHash(view: View, sweep: Sweep): string {
  const start = defaultView(sweep);
  const parts = new URLSearchParams({ sweep: view.sweep });
  const put = (key: string, value: string, usual: string): void => {
    if (value !== usual) parts.set(key, value);
  };
  put('with', view.overlay, '');
  put('x', view.x, start.x);
  put('y', view.y, start.y);
  put('colour', view.z, start.z);
  put('logx', String(view.logX), String(start.logX));
  put('logy', String(view.logY), String(start.logY));
  put('show', layersText(view.layers), layersText(start.layers));
  put('limits', limitsText(view.limits), limitsText(start.limits));
  for (const [name, [low, high]] of view.brush) parts.append('brush', `${name}~${low}~${high}`);
  if (view.zoom) parts.set('zoom', [...view.zoom.x, ...view.zoom.y].join('~'));
  for (const id of view.chosen) parts.append('chosen', id);
  put('focus', view.focus, '');
  put('sort', sortText(view), sortText(start));
  put('slices', view.sliced, start.sliced);
  put('theme', view.theme, 'auto');
  return parts.toString();
}

/** Return the run ids that a hash names: the sweep's and that of the sweep over it; "" without. */
export function runsOfHash(hash: string): { sweep: string; overlay: string } {
  const parts = new URLSearchParams(hash.replace(/^#/, ''));
  return { sweep: parts.get('sweep') ?? '', overlay: parts.get('with') ?? '' };
}

/** Return the view that a hash describes; what it leaves out, or says of things that the sweep has not, is as by default. */
export function fromHash(hash: string, sweep: Sweep): View {
  const start = defaultView(sweep);
  const parts = new URLSearchParams(hash.replace(/^#/, ''));
  const measure = (key: string, usual: string): string => {
    const name = parts.get(key);
    return name !== null && (sweep.values.has(name) || (name === '' && key === 'colour')) ? name : usual;
  };
  const x = measure('x', start.x);
  const y = measure('y', start.y);
  const isLog = (key: string, name: string): boolean =>
    parts.has(key) ? parts.get(key) === 'true' : sweep.measures.get(name)?.scale === 'log10';
  return {
    ...start,
    overlay: parts.get('with') ?? '',
    x,
    y,
    z: measure('colour', start.z),
    logX: isLog('logx', x),
    logY: isLog('logy', y),
    layers: parts.has('show') ? layersOf(parts.get('show') ?? '') : start.layers,
    limits: parts.has('limits') ? limitsOf(parts.get('limits') ?? '', sweep) : start.limits,
    brush: new Map(parts.getAll('brush').flatMap((text) => brushOf(text, sweep))),
    zoom: zoomOf(parts.get('zoom') ?? ''),
    chosen: [...new Set(parts.getAll('chosen').filter((id) => id !== ''))].slice(-MOST_CHOSEN),
    focus: parts.get('focus') ?? '',
    sort: sortOf(parts.get('sort')) ?? start.sort,
    sliced: measure('slices', start.sliced),
    theme: themeOf(parts.get('theme')),
  };
}

const layersText = (layers: ReadonlySet<Layer>): string => LAYERS.filter((layer) => layers.has(layer)).join(',');
const layersOf = (text: string): Set<Layer> => new Set(LAYERS.filter((layer) => text.split(',').includes(layer)));
const limitsText = (limits: readonly Limit[]): string => limits.map((one) => `${one.measure}${one.op}${one.value}`).join(',');
const sortText = ({ sort }: View): string => `${sort.isDescending ? '-' : ''}${sort.column}`;
const numberOf = (text: string): number => (text.trim() === '' ? NaN : Number(text));
const themeOf = (text: string | null): Theme => (text === 'light' || text === 'dark' ? text : 'auto');

function limitsOf(text: string, sweep: Sweep): Limit[] {
  const limits = text.split(',').flatMap((part): Limit[] => {
    const found = /^(.+?)(<=|>=)(.+)$/.exec(part);
    if (!found || !sweep.measures.has(found[1]) || !Number.isFinite(numberOf(found[3]))) return [];
    return [{ measure: found[1], op: found[2] === '>=' ? '>=' : '<=', value: numberOf(found[3]) }];
  });
  return strictest(limits);
}

function brushOf(text: string, sweep: Sweep): [string, Range][] {
  const [, name, low, high] = /^(.*)~([^~]*)~([^~]*)$/s.exec(text) ?? ['', '', '', ''];
  const isKnown = sweep.measures.has(name) || sweep.settings.some((setting) => `config:${setting.name}` === name);
  const range: Range = [numberOf(low), numberOf(high)];
  return isKnown && range.every(Number.isFinite) && range[0] <= range[1] ? [[name, range]] : [];
}

function zoomOf(text: string): View['zoom'] {
  const ends = text.split('~').map(numberOf);
  if (ends.length !== 4 || !ends.every(Number.isFinite) || !(ends[0] < ends[1]) || !(ends[2] < ends[3])) return null;
  return { x: [ends[0], ends[1]], y: [ends[2], ends[3]] };
}

function sortOf(text: string | null): View['sort'] | null {
  return text ? { column: text.replace(/^-/, ''), isDescending: text.startsWith('-') } : null;
}
