import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { withPlant } from './plant.ts';
import { PLANTS } from './plants.ts';

const pathOf = (file: string) => fileURLToPath(new URL(`../../${file}`, import.meta.url));

test.each(PLANTS)('has its place exactly once: $bug', async (plant) => {
  const text = await readFile(pathOf(plant.file), 'utf8');
  expect(withPlant(plant, text)).not.toBe(text);
  expect(existsSync(pathOf(plant.caughtBy)), plant.caughtBy).toBe(true);
});

test('no two have one name', () => {
  expect(new Set(PLANTS.map(({ bug }) => bug)).size).toBe(PLANTS.length);
});
