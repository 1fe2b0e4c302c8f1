import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import {
  APICallError,
  generateText,
  InvalidResponseDataError,
  type LanguageModelUsage,
  NoObjectGeneratedError,
  NoOutputGeneratedError,
  Output,
} from 'ai';
import { z } from 'zod';
import type { Feature } from '../domain/catalog.ts';
import { FEATURE_DEFINITIONS } from '../domain/features/definitions.ts';

/** What a call cost, in the provider's own tokens. `null` is unknown and must never be billed as 0. */
export interface GenerationUsage {
  inputTokens: number | null;
  outputTokens: number | null;
  cachedInputTokens: number | null;
  reasoningTokens: number | null;
  totalTokens: number | null;
}

export interface GenerationAnswer {
  /** Fits the feature's output schema. */
  result: unknown;
  usage: GenerationUsage;
  model: string;
  providerRequestId: string | null;
}

export type GenerationFaultCode =
  | 'rate_limited'
  | 'provider_timed_out'
  | 'provider_unavailable'
  | 'provider_refused'
  | 'connection_lost'
  | 'answer_unusable'
  | 'content_filtered'
  | 'input_unusable';

const SENTENCES: Record<GenerationFaultCode, string> = {
  rate_limited: 'The AI provider asked for patience',
  provider_timed_out: 'The AI provider took too long',
  provider_unavailable: 'The AI provider failed',
  provider_refused: 'The AI provider refused the request',
  connection_lost: 'The connection to the AI provider was lost',
  answer_unusable: 'The AI provider answered something that does not fit the feature',
  content_filtered: 'The AI provider filtered the answer',
  input_unusable: 'The stored input does not fit the feature',
};

/**
 * A call to the provider that brought no result. The message is a sentence of ours and a status: never the prompt, the
 * answer, the provider's body or the key, because it will stand in logs and in Temporal.
 */
export class GenerationFault extends Error {
  override readonly name = 'GenerationFault';
  readonly code: GenerationFaultCode;
  /** `final`: asking again cannot help. */
  readonly kind: 'retryable' | 'final';
  readonly httpStatus: number | null;
  readonly retryAfterMs: number | null;
  /** What the call cost although it failed. */
  readonly usage: GenerationUsage | null;

  constructor(
    code: GenerationFaultCode,
    kind: 'retryable' | 'final',
    facts: { httpStatus?: number | null; retryAfterMs?: number | null; usage?: GenerationUsage | null } = {},
  ) {
    super(`${SENTENCES[code]}${facts.httpStatus == null ? '' : ` (HTTP ${facts.httpStatus})`}.`);
    this.code = code;
    this.kind = kind;
    this.httpStatus = facts.httpStatus ?? null;
    this.retryAfterMs = facts.retryAfterMs ?? null;
    this.usage = facts.usage ?? null;
  }
}

export interface Generation {
  /** Throws GenerationFault; an abort passes through as it is. */
  generate(request: {
    feature: Feature;
    input: unknown;
    /** The same for every attempt of a job, so that a provider that honours it bills once. */
    idempotencyKey: string;
    abortSignal: AbortSignal;
  }): Promise<GenerationAnswer>;
}

// The SDK would write its remarks to the console, prompts' settings included; ours is the only log.
(globalThis as { AI_SDK_LOG_WARNINGS?: boolean }).AI_SDK_LOG_WARNINGS = false;

/** The AI client: any OpenAI-compatible endpoint. It never retries by itself; Temporal does, and remembers. */
export function createGeneration(options: { baseUrl: string; apiKey: string; model: string }): Generation {
  const provider = createOpenAICompatible({
    name: 'ai',
    baseURL: options.baseUrl,
    apiKey: options.apiKey,
    // A redirect would carry prompt and key to wherever it points; its status is an answer like any other.
    fetch: (url, request) => fetch(url, { ...request, redirect: 'manual' }),
  });
  const model = provider(options.model);
  return {
    async generate({ feature, input, idempotencyKey, abortSignal }) {
      const definition = FEATURE_DEFINITIONS[feature];
      const parsed = definition.input.safeParse(input);
      if (!parsed.success) throw new GenerationFault('input_unusable', 'final');
      const { system, user } = definition.prompt(parsed.data);
      let usage: GenerationUsage | null = null;
      try {
        const answer = await generateText({
          model,
          // Not every compatible endpoint enforces a schema; all of them can read one.
          system: `${system}\nSchema: ${JSON.stringify(z.toJSONSchema(definition.output))}`,
          prompt: user,
          output: Output.object({ schema: definition.output }),
          headers: { 'Idempotency-Key': idempotencyKey },
          abortSignal,
          maxRetries: 0,
        });
        usage = usageOf(answer.usage);
        if (answer.finishReason === 'content-filter') throw new GenerationFault('content_filtered', 'final', { usage });
        // Half an answer can be whole JSON that fits; it is still not what was paid for.
        if (answer.finishReason === 'length') throw new GenerationFault('answer_unusable', 'retryable', { usage });
        // The getter throws when there was nothing to parse.
        const result: unknown = answer.output;
        return {
          result,
          usage,
          model: answer.response.modelId,
          providerRequestId: answer.response.headers?.['x-request-id'] ?? answer.response.id ?? null,
        };
      } catch (error) {
        if (error instanceof GenerationFault) throw error;
        // Not the SDK's error: when the answer was half read, that one wraps the abort and carries the prompt.
        if (abortSignal.aborted) throw abortSignal.reason;
        throw asFault(error, usage);
      }
    },
  };
}

/** `knownUsage`: what the call cost, when it got so far that this is known. */
function asFault(error: unknown, knownUsage: GenerationUsage | null): GenerationFault {
  if (NoObjectGeneratedError.isInstance(error)) {
    const usage = error.usage === undefined ? knownUsage : usageOf(error.usage);
    return error.finishReason === 'content-filter'
      ? new GenerationFault('content_filtered', 'final', { usage })
      : new GenerationFault('answer_unusable', 'retryable', { usage });
  }
  // Nothing to parse, or no choice among the choices: the provider answered, and what came is no answer.
  if (NoOutputGeneratedError.isInstance(error) || InvalidResponseDataError.isInstance(error)) {
    return new GenerationFault('answer_unusable', 'retryable', { usage: knownUsage });
  }
  if (APICallError.isInstance(error)) {
    const httpStatus = error.statusCode ?? null;
    // No status: no answer. A status below 300: the answer broke off, or was no JSON of the protocol.
    if (httpStatus === null || httpStatus < 300)
      return new GenerationFault('connection_lost', 'retryable', { httpStatus });
    const retryAfterMs = readRetryAfter(error.responseHeaders?.['retry-after']);
    if (httpStatus === 429) return new GenerationFault('rate_limited', 'retryable', { httpStatus, retryAfterMs });
    if (httpStatus === 408) return new GenerationFault('provider_timed_out', 'retryable', { httpStatus, retryAfterMs });
    // A call under this idempotency key is still in flight: our own, from a worker that died.
    if (httpStatus === 409)
      return new GenerationFault('provider_unavailable', 'retryable', { httpStatus, retryAfterMs });
    return httpStatus >= 500
      ? new GenerationFault('provider_unavailable', 'retryable', { httpStatus, retryAfterMs })
      : new GenerationFault('provider_refused', 'final', { httpStatus });
  }
  // fetch's own errors and whatever else the SDK throws in mid-call: the call brought nothing, another one may.
  return new GenerationFault('connection_lost', 'retryable');
}

/** A day: beyond every time budget, so Temporal ends the operation at once when the next call would come too late. */
const LONGEST_PATIENCE_MS = 86_400_000;

/**
 * Seconds or an HTTP date (RFC 9110, 10.2.3), in milliseconds from now, bounded; null for anything that is neither or lies
 * in the past. A date begins with its weekday: Date.parse alone finds a year in nearly any rubbish.
 */
export function readRetryAfter(header: string | undefined): number | null {
  const value = header?.trim() ?? '';
  const waitMs = /^\d+$/.test(value)
    ? Number(value) * 1_000
    : /^(mon|tue|wed|thu|fri|sat|sun)/i.test(value)
      ? Date.parse(value) - Date.now()
      : Number.NaN;
  return waitMs > 0 ? Math.min(Math.ceil(waitMs), LONGEST_PATIENCE_MS) : null;
}

const count = z.int().min(0).nullish().catch(null);
const reportedUsage = z.object({
  prompt_tokens: count,
  completion_tokens: count,
  total_tokens: count,
  prompt_tokens_details: z.object({ cached_tokens: count }).nullish().catch(null),
  completion_tokens_details: z.object({ reasoning_tokens: count }).nullish().catch(null),
});

/** Read from the provider's own words: the SDK's counts put 0 wherever the provider said nothing. */
function usageOf({ raw }: LanguageModelUsage): GenerationUsage {
  const reported = reportedUsage.safeParse(raw).data;
  const inputTokens = reported?.prompt_tokens ?? null;
  const outputTokens = reported?.completion_tokens ?? null;
  const sum = inputTokens === null || outputTokens === null ? null : inputTokens + outputTokens;
  return {
    inputTokens,
    outputTokens,
    cachedInputTokens: reported?.prompt_tokens_details?.cached_tokens ?? null,
    reasoningTokens: reported?.completion_tokens_details?.reasoning_tokens ?? null,
    totalTokens: reported?.total_tokens ?? sum,
  };
}
