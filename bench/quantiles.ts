/** The value that `percent` of all values do not exceed. */
export function percentile(values: readonly number[] | Float64Array, percent: number): number {
  const sorted = Float64Array.from(values).sort();
  return sorted[Math.max(0, Math.ceil((sorted.length * percent) / 100) - 1)] ?? Number.NaN;
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length / 2;
  return Number.isInteger(middle)
    ? (sorted[middle - 1]! + sorted[middle]!) / 2
    : (sorted[Math.floor(middle)] ?? Number.NaN);
}

/**
 * Where the median of the distribution lies with 95 % confidence, whatever its shape: between two of the sorted values, by
 * the binomial distribution of how many of them lie below it. Fewer than six values cannot say: all of them, then.
 */
export function interval95(values: readonly number[]): [number, number] {
  const sorted = values.toSorted((a, b) => a - b);
  const n = sorted.length;
  let below = 0.5 ** n;
  let term = below;
  let rank = 0;
  while (rank < n / 2) {
    term = (term * (n - rank)) / (rank + 1);
    if (below + term > 0.025) break;
    below += term;
    rank += 1;
  }
  return [sorted[rank] ?? Number.NaN, sorted[n - 1 - rank] ?? Number.NaN];
}
