/** Whether what is wrong with a body is a feature's name that is in no catalogue, as opposed to something that is no name. */
export function namesNoFeature(body: unknown, issues: readonly { path: PropertyKey[] }[]): boolean {
  const feature = (body as { feature?: unknown } | null)?.feature;
  return typeof feature === 'string' && issues.some(({ path }) => path[0] === 'feature');
}
