/** Vector marks on a canvas: each kind has a shape of its own beside its colour. */

export type Mark = 'circle' | 'ring' | 'star' | 'diamond' | 'square' | 'plus';

/** Add a mark's path around a point. */
export function path(context: CanvasRenderingContext2D, mark: Mark, x: number, y: number, radius: number): void {
  context.beginPath();
  if (mark === 'circle' || mark === 'ring') context.arc(x, y, radius, 0, 2 * Math.PI);
  else if (mark === 'square') context.rect(x - radius * 0.85, y - radius * 0.85, radius * 1.7, radius * 1.7);
  else if (mark === 'plus') cross(context, x, y, radius);
  else polygon(context, outline(mark, x, y, radius));
}

/** Return the corners of a star or a diamond. */
export function outline(mark: 'star' | 'diamond', x: number, y: number, radius: number): [number, number][] {
  const corners = mark === 'star' ? 10 : 4;
  return Array.from({ length: corners }, (_, corner) => {
    const reach = mark === 'star' && corner % 2 === 1 ? radius * 0.45 : radius;
    const angle = (2 * Math.PI * corner) / corners - Math.PI / 2;
    return [x + reach * Math.cos(angle), y + reach * Math.sin(angle)];
  });
}

function polygon(context: CanvasRenderingContext2D, corners: readonly [number, number][]): void {
  corners.forEach(([x, y], place) => {
    if (place === 0) context.moveTo(x, y);
    else context.lineTo(x, y);
  });
  context.closePath();
}

function cross(context: CanvasRenderingContext2D, x: number, y: number, radius: number): void {
  context.moveTo(x - radius, y);
  context.lineTo(x + radius, y);
  context.moveTo(x, y - radius);
  context.lineTo(x, y + radius);
}
