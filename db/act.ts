/** Who does something to an organization, as the audit log keeps it: 'user:ID', 'key:ID' or 'operator:ID', who always has a reason. */
export interface Act {
  actor: string;
  reason: string | null;
  requestId: string;
}
