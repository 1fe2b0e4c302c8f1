/** What went wrong, in the words of whoever noticed and, behind them, of whoever knows: clients wrap what the connection said. */
export function reasonOf(error: unknown): string {
  const { message, cause } = error as Error;
  return cause instanceof Error ? `${message}: ${cause.message}` : message;
}
