import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import { text } from 'node:stream/consumers';
import type { Reply } from './testApi.ts';

/** Sends the headers of a request, and nothing of the body that they announce. Answers what comes back all the same. */
export async function unfinishedRequest(
  url: URL,
  method: string,
  headers: Record<string, string>,
  announcedBytes: number,
): Promise<Reply> {
  const asked = request(url, {
    method,
    agent: false,
    headers: { ...headers, 'Content-Length': String(announcedBytes) },
  });
  asked.on('error', () => {});
  asked.flushHeaders();
  try {
    const [response] = (await once(asked, 'response')) as [IncomingMessage];
    const answer = await text(response);
    return {
      status: response.statusCode!,
      headers: new Headers(response.headers as Record<string, string>),
      text: answer,
      body: JSON.parse(answer),
    };
  } finally {
    asked.destroy();
  }
}
