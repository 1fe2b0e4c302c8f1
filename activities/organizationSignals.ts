import { type Client, WorkflowNotFoundError } from '@temporalio/client';
import type { OutboxEvent } from '../db/outbox.ts';
import { organizationWorkflowId } from '../domain/ids.ts';
import {
  ORGANIZATION_EVENT_KINDS,
  ORGANIZATION_EVENT_SIGNAL,
  type OrganizationEvent,
  type OrganizationEventKind,
} from '../domain/organizationEvents.ts';
import type { Subscriber } from './subscriber.ts';

/** Tells an organization's workflow what happened to the organization. */
export function createOrganizationSignals({ client }: { client: Client }): Subscriber {
  return {
    name: 'organizationSignals',
    kinds: ORGANIZATION_EVENT_KINDS,

    /**
     * A second run signals a second time, with the same `eventId`: the workflow lets it pass. Only ids go, not the event's
     * content: who wants to know more reads it where it is true, in the database. A workflow that is not there does not
     * listen, which is no failure: it reads the present state when it starts.
     */
    async deliver({ organizationId, eventId, kind, subjectId }: OutboxEvent, signal: AbortSignal): Promise<void> {
      const event: OrganizationEvent = { eventId, kind: kind as OrganizationEventKind, subjectId };
      const workflow = client.workflow.getHandle(organizationWorkflowId(organizationId));
      try {
        await client.withAbortSignal(signal, () =>
          workflow.signal<[OrganizationEvent]>(ORGANIZATION_EVENT_SIGNAL, event),
        );
      } catch (error) {
        if (!(error instanceof WorkflowNotFoundError)) throw error;
      }
    },
  };
}
