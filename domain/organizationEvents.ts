/** What an organization's workflow is told of: by id, because workflow histories hold nothing else. */
export interface OrganizationEvent {
  eventId: number;
  kind: OrganizationEventKind;
  /** What it is about: a token type, or null where it is about the organization itself. */
  subjectId: string | null;
}

export const ORGANIZATION_EVENT_KINDS = ['plan_changed', 'allowance_refreshed', 'balance_low'] as const;
export type OrganizationEventKind = (typeof ORGANIZATION_EVENT_KINDS)[number];

/** The signal's name, in code as on the wire. Its receiver may get an event twice, and knows it by its `eventId`. */
export const ORGANIZATION_EVENT_SIGNAL = 'organizationEvent';
