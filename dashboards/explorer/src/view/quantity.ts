/** Numbers as people write them in limits: "200k", "20 kB", "4KiB", "0.9"; the rule is that of `tutelage.objectives`. */

const QUANTITY = /^\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*([kKMG]i|[kKMG]?)[bB]?\s*$/;
const POWERS: Record<string, number> = { '': 0, k: 1, K: 1, M: 2, G: 3 };

/** Return the number; NaN for other text. */
export function parseQuantity(text: string): number {
  const match = QUANTITY.exec(text);
  if (!match) return NaN;
  const value = Number(match[1]) * (match[2].endsWith('i') ? 1024 : 1000) ** POWERS[match[2].slice(0, 1)];
  return Number.isFinite(value) ? value : NaN;
}
