/** What a benchmark is told. */
export interface Knobs {
  isQuick: boolean;
  say: (line: string) => void;
}

/** One measured quantity: the product's, the foil's, and foil / product, so that more than 1 is faster than the foil. */
export interface Figure {
  name: string;
  unit: 'ms';
  product: number;
  foil: number;
  ratio: number;
}
