/** The dominated, infeasible and stopped candidates of a scatter, as an image. */

import { knownColumn } from '../data/snapshot';
import { DOMINATED, HIDDEN, INFEASIBLE, ON_FRONT, STOPPED, type Model } from '../view/model';
import type { Frame } from './frame';
import { colourPlace, rgb, sequential, type Palette } from './palette';
import { Raster, rgbs, stampOf, type Shape, type Stamp } from './raster';

type Rgb = readonly [number, number, number];

/** Draw all rows but the front into an image of the frame's size; what is outside the brushed ranges is fainter. */
export function drawCloud(
  image: ImageData,
  model: Model,
  frame: Frame,
  xs: Float32Array,
  ys: Float32Array,
  palette: Palette,
  ratio: number,
): void {
  const raster = new Raster(image);
  const { classes, isBrushed } = model;
  const marks = marksOf(model, palette, ratio, image.width);
  const hasBrush = model.view.brush.size > 0;
  const colours = colourer(model, frame, palette);
  const opacity = Math.max(0.28, Math.min(0.7, 30 / Math.sqrt(model.sweep.n)));
  const clip = { left: frame.left * ratio, right: frame.right * ratio, top: frame.top * ratio, bottom: frame.bottom * ratio };
  for (let row = 0; row < classes.length; row++) {
    const kind = classes[row];
    if (kind === HIDDEN || kind === ON_FRONT) continue;
    const [x, y] = [xs[row] * ratio, ys[row] * ratio];
    if (!(x >= clip.left && x <= clip.right && y >= clip.top && y <= clip.bottom)) continue;
    const { stamp, colour } = marks[kind];
    const isFaint = hasBrush && !isBrushed[row];
    raster.put(stamp, x, y, isFaint || !colours ? colour : colours(row), isFaint ? 0.08 : opacity);
  }
}

function marksOf(model: Model, palette: Palette, ratio: number, width: number): { stamp: Stamp; colour: Rgb }[] {
  const radius = (model.sweep.n > 20_000 ? 1.8 : model.sweep.n > 2_000 ? 2.3 : 3.2) * ratio;
  const mark = (shape: Shape, colour: string, size: number): { stamp: Stamp; colour: Rgb } => ({
    stamp: stampOf(shape, radius * size, width),
    colour: rgb(colour),
  });
  const marks = new Array<{ stamp: Stamp; colour: Rgb }>(5);
  marks[DOMINATED] = mark('dot', palette.dominated, 1);
  marks[INFEASIBLE] = mark('cross', palette.infeasible, 1.3);
  marks[STOPPED] = mark('triangle', palette.stopped, 1.35);
  return marks;
}

function colourer(model: Model, frame: Frame, palette: Palette): ((row: number) => Rgb) | null {
  if (!frame.z) return null;
  const scale = frame.z;
  const values = knownColumn(model.sweep, model.view.z);
  const colours = rgbs(sequential(palette.isDark));
  const grey = rgb(palette.dominated);
  return (row) => (Number.isNaN(values[row]) ? grey : colours[colourPlace(values[row], scale)]);
}
