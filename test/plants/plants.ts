import { PLANTS_IN_ADMINISTERING } from './inAdministering.ts';
import { PLANTS_IN_ADMISSION } from './inAdmission.ts';
import { PLANTS_IN_ENDS } from './inEnds.ts';
import { PLANTS_IN_HOLDS } from './inHolds.ts';
import { PLANTS_IN_RULES } from './inRules.ts';
import { PLANTS_IN_SENDING } from './inSending.ts';
import { PLANTS_IN_TIME } from './inTime.ts';
import type { Plant } from './plant.ts';

/**
 * Each is what a careless change could leave behind, and none breaks the syntax. Whoever changes what a plant looks for
 * gives it its new place (test/plants/plants.test.ts says which one), or another bug of the same kind.
 */
export const PLANTS: readonly Plant[] = [
  ...PLANTS_IN_HOLDS,
  ...PLANTS_IN_ENDS,
  ...PLANTS_IN_TIME,
  ...PLANTS_IN_RULES,
  ...PLANTS_IN_SENDING,
  ...PLANTS_IN_ADMINISTERING,
  ...PLANTS_IN_ADMISSION,
];
