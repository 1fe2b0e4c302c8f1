/**
 * Refusals are values, not errors: the closed list of what a state change may answer instead of doing it, in the order in
 * which it is decided. The SQL functions speak the same words; the API gives each a problem code and a status.
 */
export const HOLD_REFUSALS = [
  'not_a_member',
  'organization_unknown',
  'organization_suspended',
  'feature_unknown',
  'id_invalid',
  'amount_invalid',
  'lifetime_invalid',
  'id_reused',
  'feature_not_available',
  'too_many_holds',
  'limit_reached',
  'tokens_insufficient',
] as const;
export type HoldRefusal = (typeof HOLD_REFUSALS)[number];

export const QUOTE_REFUSALS = [
  'not_a_member',
  'organization_unknown',
  'organization_suspended',
  'feature_unknown',
  'amount_invalid',
  'feature_not_available',
  'too_many_holds',
  'limit_reached',
  'tokens_insufficient',
] as const;
export type QuoteRefusal = (typeof QUOTE_REFUSALS)[number];

export const HOLD_END_REFUSALS = [
  'not_a_member',
  'hold_unknown',
  'hold_of_a_job',
  'key_reused',
  'hold_captured',
  'hold_released',
  'hold_lapsed',
  'amount_invalid',
  'key_invalid',
  'amount_above_hold',
  'limit_reached',
  'tokens_insufficient',
] as const;
export type HoldEndRefusal = (typeof HOLD_END_REFUSALS)[number];

export const EXTENSION_REFUSALS = [
  'not_a_member',
  'hold_unknown',
  'hold_of_a_job',
  'lifetime_invalid',
  'hold_captured',
  'hold_released',
  'hold_lapsed',
] as const;
export type ExtensionRefusal = (typeof EXTENSION_REFUSALS)[number];

export const GROWTH_REFUSALS = [
  'not_a_member',
  'hold_unknown',
  'organization_suspended',
  'hold_of_a_job',
  'key_invalid',
  'key_reused',
  'hold_captured',
  'hold_released',
  'hold_lapsed',
  'amount_invalid',
  'feature_not_available',
  'limit_reached',
  'tokens_insufficient',
] as const;
export type GrowthRefusal = (typeof GROWTH_REFUSALS)[number];

export const REFUND_REFUSALS = [
  'not_a_member',
  'not_an_admin',
  'key_reused',
  'charge_unknown',
  'amount_invalid',
  'amount_above_charge',
] as const;
export type RefundRefusal = (typeof REFUND_REFUSALS)[number];

export const ADMISSION_REFUSALS = [
  'not_a_member',
  'key_reused',
  'organization_suspended',
  'feature_unknown',
  'id_invalid',
  'id_reused',
  'feature_not_available',
  'too_many_jobs',
  'too_many_holds',
  'limit_reached',
  'tokens_insufficient',
] as const;
export type AdmissionRefusal = (typeof ADMISSION_REFUSALS)[number];

export const DEDUCTION_REFUSALS = [
  'not_a_member',
  'key_reused',
  'organization_unknown',
  'organization_suspended',
  'feature_unknown',
  'id_reused',
  'feature_not_available',
  'limit_reached',
  'tokens_insufficient',
] as const;
export type DeductionRefusal = (typeof DEDUCTION_REFUSALS)[number];

export const CHECK_REFUSALS = [
  'not_a_member',
  'organization_unknown',
  'organization_suspended',
  'feature_unknown',
  'feature_not_available',
  'tokens_insufficient',
] as const;
export type CheckRefusal = (typeof CHECK_REFUSALS)[number];

export const KEY_CREATION_REFUSALS = [
  'not_an_admin',
  'organization_unknown',
  'scope_missing',
  'expiry_past',
  'expiry_beyond_own',
] as const;
export type KeyCreationRefusal = (typeof KEY_CREATION_REFUSALS)[number];

export const KEY_ROTATION_REFUSALS = ['not_an_admin', 'key_unknown', 'key_ended', 'scope_missing'] as const;
export type KeyRotationRefusal = (typeof KEY_ROTATION_REFUSALS)[number];

export const LIMIT_REFUSALS = ['not_an_admin', 'organization_unknown', 'limit_unknown', 'too_many_limits'] as const;
export type LimitRefusal = (typeof LIMIT_REFUSALS)[number];
