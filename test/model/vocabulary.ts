import type { Feature, Plan, TokenType } from '../../domain/catalog.ts';
import type {
  ExtensionRefusal,
  GrowthRefusal,
  HoldEndRefusal,
  HoldRefusal,
  RefundRefusal,
} from '../../domain/refusals.ts';

/** What the model of the ledger knows, is asked and answers. */
export interface Ledger {
  readonly plan: Plan;
  /** What a capture of more than is held does. */
  readonly aboveHold: 'refuse' | 'cap' | 'draw';
  /** Pooled tokens: the types that a feature may be paid with when its own do not suffice, in this order. */
  readonly fallbacks: Partial<Record<Feature, readonly TokenType[]>>;
  /** The most that the organization's keys may use of a type in the period, each of which is the one that calls. */
  readonly limits: Partial<Record<TokenType, number>>;
  /** Milliseconds, and the same for every row of a call. Each change comes a moment after the one before. */
  now: number;
  /** Oldest first. */
  grants: Grant[];
  holds: Record<string, Hold>;
  /** By their keys: what was asked and answered. */
  refunds: Record<string, { asked: string; answer: Refund }>;
}

export interface Grant {
  tokenType: TokenType;
  isOfPlan: boolean;
  priority: number;
  isPaid: boolean;
  /** Null: never. */
  expiresAt: number | null;
  /** What is neither held nor gone. */
  remaining: number;
}

/** Tokens and the grant that they came from, by its place in `grants`. */
export interface Part {
  grant: number;
  amount: number;
}

export interface Hold {
  feature: Feature;
  tokenType: TokenType;
  isOfJob: boolean;
  state: 'held' | 'captured' | 'released' | 'lapsed';
  expiresAt: number;
  /** As asked for; a repeat must ask the same. */
  asked: number;
  lifetimeMs: number;
  /** All ever set aside, grows included. */
  amount: number;
  /** What is neither charged nor given back, in the order taken. */
  open: Part[];
  /** Each is a charge, but for a last one that found nothing left to charge. */
  captures: Capture[];
  /** By their keys. */
  grows: Record<string, { amount: number; available: number }>;
}

interface Capture {
  key: string | null;
  isLast: boolean;
  /** As asked for; a repeat must ask the same. Null asked for all that was open. */
  asked: number | null;
  open: number;
  amount: number;
  /** What is not refunded, in the order burnt. */
  parts: Part[];
}

/** Who asks: a member unless said. */
type Asked<T> = T & { isStranger?: boolean };

export type Command =
  | Asked<{ verb: 'hold'; holdId: string; feature: Feature; amount: number; lifetimeMs: number; isOfJob?: boolean }>
  | Asked<{ verb: 'extend'; holdId: string; lifetimeMs: number }>
  | Asked<{ verb: 'grow'; holdId: string; key: string; amount: number }>
  /** An amount of null is all that is open. */
  | Asked<{ verb: 'capture'; holdId: string; amount: number | null; key?: string; isLast?: boolean }>
  | Asked<{ verb: 'release'; holdId: string }>
  | Asked<{ verb: 'refund'; chargeId: string; amount: number | null; key: string }>
  | { verb: 'adjust'; tokenType: TokenType; change: number }
  | {
      verb: 'grant';
      tokenType: TokenType;
      amount: number;
      priority: number;
      isPaid: boolean;
      lifetimeMs: number | null;
    }
  | { verb: 'elapse'; durationMs: number }
  /** What can be spent. */
  | { verb: 'look'; tokenType: TokenType }
  /** What can be spent, what is set aside, and what is left of each grant. */
  | { verb: 'inspect'; tokenType: TokenType };

export type Answer =
  | { outcome: Hold['state'] | HoldRefusal; isRepeat: boolean; tokenType: TokenType | null; available: number | null }
  | Ending
  | Growth
  | Refund
  | { outcome: 'extended' | ExtensionRefusal }
  | { outcome: 'adjusted' | 'granted' | 'elapsed' | 'adjustment_refused' }
  | { available: number }
  | { available: number; held: number; grants: number[] };
export interface Ending {
  outcome: 'captured' | 'released' | 'lapsed' | HoldEndRefusal;
  isRepeat: boolean;
  chargeId: string | null;
  captured: number;
  returned: number;
  capturedInAll: number;
  missing?: Missing;
}
export interface Growth {
  outcome: 'grown' | GrowthRefusal;
  isRepeat: boolean;
  amount: number | null;
  available: number | null;
  missing?: Missing;
}
/** What is told of a balance that could not bear more. */
export interface Missing {
  tokenType: TokenType;
  required: number;
  available: number;
}
export interface Refund {
  outcome: 'refunded' | RefundRefusal;
  isRepeat: boolean;
  refunded: number | null;
  refundedInAll: number | null;
  charged: number | null;
  available: number | null;
}

export type Settings = Pick<Ledger, 'aboveHold' | 'fallbacks' | 'limits'>;
