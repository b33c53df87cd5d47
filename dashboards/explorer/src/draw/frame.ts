/** Where a scatter's axes lie, and where each row stands on them. */

import { knownColumn, type Sweep } from '../data/snapshot';
import { kindOf, padded, pixelOf, placedRange, type AxisScale, type Kind } from '../math/scale';
import { HIDDEN, type Model } from '../view/model';
import type { Range } from '../view/view';

export interface Frame {
  width: number;
  height: number;
  left: number;
  right: number;
  top: number;
  bottom: number;
  x: AxisScale;
  y: AxisScale;
  /** The ends of the colour scale; null where no third measure is shown. */
  z: { kind: Kind; low: number; high: number } | null;
}

/** Return the frame for a picture of `width` and `height` pixels that shows all drawn rows of the models, or their zoom. */
export function frameOf(models: readonly Model[], width: number, height: number): Frame {
  const [model] = models;
  const { view } = model;
  const isNarrow = width < 480;
  const frame = { width, height, left: isNarrow ? 48 : 64, right: width - 16, top: 32, bottom: height - 46 };
  const [kindX, kindY] = [kindOf(model.sweep.measures.get(view.x), view.logX), kindOf(model.sweep.measures.get(view.y), view.logY)];
  const whole = { x: extent(models, view.x, kindX), y: extent(models, view.y, kindY) };
  const { x, y } = view.zoom ? { x: placedRange(view.zoom.x, kindX, whole.x), y: placedRange(view.zoom.y, kindY, whole.y) } : whole;
  return {
    ...frame,
    x: { kind: kindX, low: x[0], high: x[1], start: frame.left, end: frame.right },
    y: { kind: kindY, low: y[0], high: y[1], start: frame.bottom, end: frame.top },
    z: view.z ? colourRange(models, view.z) : null,
  };
}

function colourRange(models: readonly Model[], name: string): Frame['z'] {
  const kind = models[0].sweep.measures.get(name)?.scale === 'log10' ? 'log' : 'linear';
  const [low, high] = padded(ends(models, name, kind), kind, 0);
  return { kind, low, high };
}

function extent(models: readonly Model[], name: string, kind: Kind): Range {
  const baselines = models[0].view.layers.has('baselines') ? models[0].sweep.baselines : [];
  const values = baselines.map((baseline) => baseline.values.get(name) ?? NaN);
  return padded([...ends(models, name, kind), ...values], kind);
}

/** Return the least and the largest drawn value that the axis can show. */
function ends(models: readonly Model[], name: string, kind: Kind): number[] {
  let [low, high] = [Infinity, -Infinity];
  for (const { sweep, classes } of models) {
    const values = knownColumn(sweep, name);
    for (let row = 0; row < sweep.n; row++) {
      const value = values[row];
      if (classes[row] === HIDDEN || (kind === 'log' && value <= 0)) continue;
      if (value < low) low = value;
      if (value > high) high = value;
    }
  }
  return low <= high ? [low, high] : [];
}

/** Return the pixels of every row of a measure on an axis. */
export function pixels(sweep: Sweep, name: string, scale: AxisScale): Float32Array {
  const values = knownColumn(sweep, name);
  const found = new Float32Array(values.length);
  const place = pixelOf(scale);
  for (let row = 0; row < found.length; row++) found[row] = place(values[row]);
  return found;
}
