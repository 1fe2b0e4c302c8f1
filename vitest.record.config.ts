import { defineConfig } from 'vitest/config';
import base from './vitest.config.ts';

/** `npm run record`: see test/replay/record.ts. */
export default defineConfig({ test: { ...base.test, include: ['test/replay/record.ts'] } });
