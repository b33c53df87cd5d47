/** Draws many small marks into an image: 100,000 take tens of milliseconds without a graphics card. */

import { rgb } from './palette';

export type Shape = 'dot' | 'cross' | 'triangle' | 'square';

export interface Stamp {
  offsets: Int32Array;
  coverage: Float32Array;
  radius: number;
}

const SAMPLES = 4; // a side, of a pixel's share that a shape covers

/** Return the pixels of a shape of `radius` pixels around a pixel, for an image of `width`. */
export function stampOf(shape: Shape, radius: number, width: number): Stamp {
  const offsets: number[] = [];
  const coverage: number[] = [];
  const reach = Math.ceil(radius);
  for (let y = -reach; y <= reach; y++) {
    for (let x = -reach; x <= reach; x++) {
      const share = covered(shape, radius, x, y);
      if (share > 0) {
        offsets.push(y * width + x);
        coverage.push(share);
      }
    }
  }
  return { offsets: Int32Array.from(offsets), coverage: Float32Array.from(coverage), radius: reach };
}

function covered(shape: Shape, radius: number, x: number, y: number): number {
  let inside = 0;
  for (let row = 0; row < SAMPLES; row++) {
    for (let place = 0; place < SAMPLES; place++) {
      const [dx, dy] = [x + (place + 0.5) / SAMPLES - 0.5, y + (row + 0.5) / SAMPLES - 0.5];
      inside += Number(isInside(shape, radius, dx, dy));
    }
  }
  return inside / SAMPLES ** 2;
}

function isInside(shape: Shape, radius: number, x: number, y: number): boolean {
  if (shape === 'dot') return x * x + y * y <= radius * radius;
  if (shape === 'square') return Math.max(Math.abs(x), Math.abs(y)) <= radius * 0.85;
  if (shape === 'triangle') return y <= radius * 0.7 && y >= -radius && Math.abs(x) <= (y + radius) * 0.58;
  return Math.abs(Math.abs(x) - Math.abs(y)) <= radius * 0.32 && Math.max(Math.abs(x), Math.abs(y)) <= radius;
}

/** An image that marks are blended into; alpha is not multiplied into its colours. */
export class Raster {
  private readonly pixels: Uint8ClampedArray;

  constructor(readonly image: ImageData) {
    this.pixels = image.data;
  }

  /** Blend a mark at a pixel; a mark that does not lie wholly inside the image is left out. */
  put(stamp: Stamp, x: number, y: number, colour: readonly [number, number, number], opacity: number): void {
    const { width, height } = this.image;
    const reach = stamp.radius;
    if (!(x >= reach && y >= reach && x < width - reach && y < height - reach)) return;
    const { pixels } = this;
    const centre = (y | 0) * width + (x | 0);
    const { offsets, coverage } = stamp;
    for (let place = 0; place < offsets.length; place++) {
      const at = (centre + offsets[place]) * 4;
      const alpha = coverage[place] * opacity;
      const below = (pixels[at + 3] / 255) * (1 - alpha);
      const total = alpha + below;
      const share = alpha / total;
      pixels[at] += (colour[0] - pixels[at]) * share;
      pixels[at + 1] += (colour[1] - pixels[at + 1]) * share;
      pixels[at + 2] += (colour[2] - pixels[at + 2]) * share;
      pixels[at + 3] = total * 255;
    }
  }
}

/** Return the red, green and blue of each of `colours`. */
export function rgbs(colours: readonly string[]): [number, number, number][] {
  return colours.map(rgb);
}
