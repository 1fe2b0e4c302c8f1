import { CHARGES_PATH } from '../contract/charges.ts';
import {
  type EndedHold,
  type ExtendedHold,
  type GrownHold,
  HOLDS_PATH,
  type Hold,
  type PlacedHold,
} from '../contract/holds.ts';
import type { StoredHold } from '../db/holdReads.ts';
import type { Extension, Growth, HoldEnding, HoldPlacement } from '../db/holds.ts';
import type { Feature } from '../domain/catalog.ts';
import { type Answer, refused } from './answer.ts';

const linkTo = (id: string, step = '') => `${HOLDS_PATH}/${encodeURIComponent(id)}${step}`;

export const refundLink = (chargeId: string) => `${CHARGES_PATH}/${encodeURIComponent(chargeId)}/refund`;

export function placementAnswer(
  { id, feature, tokens }: { id: string; feature: Feature; tokens: number },
  placed: HoldPlacement,
): Answer<PlacedHold> {
  switch (placed.outcome) {
    case 'held':
    case 'captured':
    case 'released':
    case 'lapsed': {
      const links = {
        self: linkTo(id),
        capture: linkTo(id, '/capture'),
        release: linkTo(id, '/release'),
        extend: linkTo(id, '/extend'),
        grow: linkTo(id, '/grow'),
      };
      const { tokenType, expiresAt, isRepeat } = placed;
      return {
        body: { id, feature, tokenType: tokenType!, tokens, expiresAt: expiresAt!.toISOString(), links },
        isRepeat,
      };
    }
    case 'tokens_insufficient':
      return refused(placed.outcome, {
        required: tokens,
        available: placed.available!,
        tokenType: placed.tokenType!,
      });
    case 'organization_suspended':
    case 'feature_not_available':
    case 'too_many_holds':
    case 'limit_reached':
      return refused(placed.outcome);
    case 'id_reused':
      return refused('idempotency_key_reused');
    case 'not_a_member':
    case 'organization_unknown':
      return refused('not_your_organization');
    default:
      throw new Error(`hold_tokens answered ${placed.outcome} to a request that was checked`);
  }
}

/** Of a capture, or of a release; `isLast` as it was asked for. */
export function endingAnswer(id: string, isLast: boolean, ending: HoldEnding): Answer<EndedHold> {
  const { outcome, isRepeat, captured, returned, chargeId, capturedInAll, missing } = ending;
  switch (outcome) {
    case 'captured':
    case 'released':
    case 'lapsed': {
      const links = { self: linkTo(id), ...(chargeId === null ? {} : { refund: refundLink(chargeId) }) };
      const state = isLast ? outcome : 'held';
      return { body: { id, state, captured, returned, chargeId, capturedInAll, links }, isRepeat };
    }
    case 'key_invalid':
    case 'amount_invalid':
      throw new Error(`end_holds answered ${outcome} to a request that was checked`);
    case 'amount_above_hold':
    case 'limit_reached':
      return refused(outcome);
    case 'tokens_insufficient':
      return refused(outcome, missing!);
    default:
      return stepRefused(outcome);
  }
}

export function extensionAnswer(id: string, { outcome, expiresAt }: Extension): Answer<ExtendedHold> {
  switch (outcome) {
    case 'extended':
      // Again is as good as the first time, and lets it live a little longer.
      return { body: { id, state: 'held', expiresAt: expiresAt!.toISOString() }, isRepeat: false };
    case 'lifetime_invalid':
      throw new Error(`extend_holds answered ${outcome} to a request that was checked`);
    default:
      return stepRefused(outcome);
  }
}

export function growthAnswer(id: string, growth: Growth): Answer<GrownHold> {
  const { outcome, isRepeat, amount, available, missing } = growth;
  switch (outcome) {
    case 'grown':
      return { body: { id, state: 'held', tokens: amount!, available: available! }, isRepeat };
    case 'key_invalid':
      throw new Error(`grow_holds answered ${outcome} to a request that was checked`);
    case 'amount_invalid':
      return refused('invalid_request', {
        errors: [{ path: 'tokens', message: 'is too large, with what is held already' }],
      });
    case 'organization_suspended':
    case 'feature_not_available':
    case 'limit_reached':
      return refused(outcome);
    case 'tokens_insufficient':
      return refused(outcome, missing!);
    default:
      return stepRefused(outcome);
  }
}

/** What every step of a hold may be refused for. */
function stepRefused(
  outcome:
    | 'not_a_member'
    | 'hold_unknown'
    | 'hold_of_a_job'
    | 'key_reused'
    | 'hold_captured'
    | 'hold_released'
    | 'hold_lapsed',
) {
  switch (outcome) {
    case 'not_a_member':
      return refused('not_your_organization');
    case 'hold_unknown':
      return refused('hold_not_found');
    case 'key_reused':
      return refused('idempotency_key_reused');
    case 'hold_of_a_job':
    case 'hold_captured':
    case 'hold_released':
    case 'hold_lapsed':
      return refused('hold_already_ended');
  }
}

export function writeHold({ charges, ...hold }: StoredHold): Hold {
  return {
    ...hold,
    charges: charges.map((charge) => ({ ...charge, links: { refund: refundLink(charge.chargeId) } })),
    links: { self: linkTo(hold.id) },
  };
}
