/** A line chart by uPlot in the page's colours. */

import uPlot from 'uplot';
import { readPalette } from '../draw/palette';

export interface Line {
  label: string;
  colour: string;
  isStepped: boolean;
  dash: number[];
}

/** Draw lines into `place`, over the x values of `data`'s first column; return the chart, which the caller destroys. */
export function lineChart(
  place: HTMLElement,
  data: uPlot.AlignedData,
  lines: readonly Line[],
  options: { xLabel: string; isTime: boolean; yText: (value: number) => string },
): uPlot {
  const palette = readPalette();
  const stepped = uPlot.paths.stepped!({ align: 1 });
  const axis = { stroke: palette.muted, grid: { stroke: palette.grid, width: 1 }, ticks: { stroke: palette.grid, width: 1 }, font: '11px system-ui, sans-serif' };
  return new uPlot(
    {
      width: Math.max(220, place.clientWidth),
      height: 230,
      scales: { x: { time: options.isTime }, y: {} },
      axes: [
        { ...axis, label: options.xLabel, labelSize: 22, labelFont: '11px system-ui, sans-serif' },
        { ...axis, size: 64, values: (_, values) => values.map((value) => (value === null ? '' : options.yText(value))) },
      ],
      series: [
        { label: options.xLabel },
        ...lines.map((line): uPlot.Series => ({
          label: line.label,
          stroke: line.colour,
          width: 1.75,
          dash: line.dash,
          spanGaps: true,
          points: { show: data[0].length < 40, size: 5 },
          ...(line.isStepped ? { paths: stepped } : {}),
        })),
      ],
      legend: { show: true, live: true },
      cursor: { drag: { x: true, y: false } },
    },
    data,
    place,
  );
}
