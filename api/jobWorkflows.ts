import { Client, Connection, WorkflowExecutionAlreadyStartedError, WorkflowNotFoundError } from '@temporalio/client';
import { defineSearchAttributeKey } from '@temporalio/common';
import type { Feature } from '../domain/catalog.ts';
import { jobWorkflowId } from '../domain/ids.ts';
import { SEARCH_ATTRIBUTES } from '../domain/searchAttributes.ts';
import type { runJob } from '../workflows/runJob.ts';

export type JobWorkflows = ReturnType<typeof createJobWorkflows>;

interface StartableJob {
  organizationId: string;
  jobId: string;
  feature: Feature;
  tokenType: string;
  tokens: number;
}

/**
 * The workflows of jobs, as the API deals with them. Every call is bounded by `deadlineMs`; one that throws is in doubt:
 * it may have reached Temporal all the same.
 */
export function createJobWorkflows(options: {
  address: string;
  namespace: string;
  taskQueue: string;
  deadlineMs?: number;
}) {
  const { address, namespace, taskQueue, deadlineMs = 3_000 } = options;
  // Lazy: reads and refusals need no Temporal, so neither does the start of the process.
  const connection = Connection.lazy({ address, channelArgs: CHANNEL });
  const client = new Client({ connection, namespace });
  const bounded = <T>(call: () => Promise<T>) => connection.withDeadline(Date.now() + deadlineMs, call);

  return {
    /** Safe to repeat: one workflow id has one run, ever. Only ids go in, and nothing personal is shown to operators. */
    async start({ organizationId, jobId, feature, tokenType, tokens }: StartableJob): Promise<void> {
      try {
        await bounded(() =>
          client.workflow.start<typeof runJob>('runJob', {
            workflowId: jobWorkflowId(organizationId, jobId),
            taskQueue,
            args: [{ organizationId, jobId }],
            workflowIdReusePolicy: 'REJECT_DUPLICATE',
            typedSearchAttributes: [
              { key: ORGANIZATION_ID, value: organizationId },
              { key: FEATURE, value: feature },
              // Given at the start it costs no event. What becomes of the job in its first second is not worth one.
              { key: JOB_STATE, value: 'running' },
              { key: TOKENS_RESERVED, value: tokens },
            ],
            staticSummary: `${feature} for ${tokens} ${tokenType} tokens`,
          }),
        );
      } catch (error) {
        if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error;
      }
    },

    /** Asks the workflow to cancel its work. `not_open`: there is none, or it has ended. Safe to repeat. */
    async cancel(organizationId: string, jobId: string): Promise<'asked' | 'not_open'> {
      try {
        await bounded(() => client.workflow.getHandle(jobWorkflowId(organizationId, jobId)).cancel());
        return 'asked';
      } catch (error) {
        if (error instanceof WorkflowNotFoundError) return 'not_open';
        throw error;
      }
    },

    /** Whether Temporal answers within `withinMs`. */
    isReachable: (withinMs: number): Promise<boolean> =>
      connection
        .withDeadline(Date.now() + withinMs, () => connection.workflowService.getSystemInfo({}))
        .then(
          () => true,
          () => false,
        ),

    close: (): Promise<void> => connection.close(),
  };
}

/**
 * Left alone, the channel looks for a server that is away ever more seldom, up to every two minutes, and takes 45 s to
 * notice one that went silent: starts would be refused for that long after Temporal is back.
 */
const CHANNEL = {
  'grpc.initial_reconnect_backoff_ms': 200,
  'grpc.max_reconnect_backoff_ms': 1_000,
  'grpc.keepalive_time_ms': 15_000,
  'grpc.keepalive_timeout_ms': 3_000,
};

const ORGANIZATION_ID = defineSearchAttributeKey('OrganizationId', SEARCH_ATTRIBUTES.OrganizationId);
const FEATURE = defineSearchAttributeKey('Feature', SEARCH_ATTRIBUTES.Feature);
const JOB_STATE = defineSearchAttributeKey('JobState', SEARCH_ATTRIBUTES.JobState);
const TOKENS_RESERVED = defineSearchAttributeKey('TokensReserved', SEARCH_ATTRIBUTES.TokensReserved);
