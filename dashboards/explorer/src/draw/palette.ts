/** The colours of the page's theme, read from its style sheet, and the scale of a third measure. */

import { shareOf, type AxisScale } from '../math/scale';

export interface Palette {
  isDark: boolean;
  surface: string;
  ink: string;
  muted: string;
  grid: string;
  front: string;
  dominated: string;
  infeasible: string;
  stopped: string;
  teacher: string;
  baseline: string;
  overlay: string;
  choice: string;
}

// Cividis (Nuñez, Anderton and Renslow, 2018), distinguishable for colour-blind readers
const CIVIDIS = ['#00224e', '#123570', '#3b496c', '#575d6d', '#707173', '#8a8678', '#a59c74', '#c3b369', '#e1cc55', '#fee838'];
const STEPS = 64;

/** Return the palette that the page has now. */
export function readPalette(): Palette {
  const style = getComputedStyle(document.documentElement);
  const colour = (name: string): string => style.getPropertyValue(`--${name}`).trim();
  return {
    isDark: colour('is-dark') === '1',
    surface: colour('surface'),
    ink: colour('ink'),
    muted: colour('muted'),
    grid: colour('grid'),
    front: colour('front'),
    dominated: colour('dominated'),
    infeasible: colour('infeasible'),
    stopped: colour('stopped'),
    teacher: colour('teacher'),
    baseline: colour('baseline'),
    overlay: colour('overlay'),
    choice: colour('choice'),
  };
}

/** Return the red, green and blue of "#rrggbb". */
export function rgb(colour: string): [number, number, number] {
  const value = parseInt(colour.slice(1), 16);
  return [(value >> 16) & 255, (value >> 8) & 255, value & 255];
}

/** Return the colours from low to high as "#rrggbb"; the end that the background would hide is left out. */
export function sequential(isDark: boolean): string[] {
  const [from, to] = isDark ? [0.3, 1] : [0, 0.88];
  return Array.from({ length: STEPS }, (_, step) => between(from + ((to - from) * step) / (STEPS - 1)));
}

function between(share: number): string {
  const place = Math.min(share * (CIVIDIS.length - 1), CIVIDIS.length - 1.000001);
  const [low, high] = [rgb(CIVIDIS[Math.floor(place)]), rgb(CIVIDIS[Math.floor(place) + 1])];
  const part = place - Math.floor(place);
  return `#${low.map((value, axis) => Math.round(value + (high[axis] - value) * part).toString(16).padStart(2, '0')).join('')}`;
}

/** Return the place of a value in `sequential`'s colours. */
export function colourPlace(value: number, scale: Pick<AxisScale, 'kind' | 'low' | 'high'>): number {
  const share = shareOf(scale, value);
  return Math.max(0, Math.min(STEPS - 1, Math.floor(share * STEPS) || 0));
}
