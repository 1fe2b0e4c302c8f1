/** What an operator can search workflows by. Registered on the Temporal namespace; ids and words of ours, nothing personal. */
export const SEARCH_ATTRIBUTES = {
  OrganizationId: 'KEYWORD',
  Feature: 'KEYWORD',
  JobState: 'KEYWORD',
  TokensReserved: 'INT',
  PurchaseId: 'KEYWORD',
} as const;
