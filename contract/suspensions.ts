import { z } from 'zod';
import { operation } from './operation.ts';
import { ORGANIZATION_PATH } from './organizations.ts';

/** `suspendedSince`: null where the organization is served. */
export const suspension = z
  .strictObject({
    organizationId: z.string(),
    suspendedSince: z.nullable(z.iso.datetime({ offset: false })),
  })
  .meta({ id: 'Suspension' });
export type Suspension = z.infer<typeof suspension>;

export const suspendOrganization = operation({
  id: 'suspendOrganization',
  method: 'post',
  path: `${ORGANIZATION_PATH}/suspend`,
  tag: 'Organizations',
  summary: 'Admit nothing new for an organization',
  description:
    'What is open goes on: holds are captured and released, jobs run to their end, months are refreshed. Repeat it as you like; `suspendedSince` stays that of the first time.',
  access: 'operators',
  answers: { 200: { description: 'Suspended.', schema: suspension } },
  problems: [],
  examples: [{ title: 'Suspend', params: { organizationId: 'org_acme' }, status: 200 }],
});

export const resumeOrganization = operation({
  id: 'resumeOrganization',
  method: 'post',
  path: `${ORGANIZATION_PATH}/resume`,
  tag: 'Organizations',
  summary: 'Serve a suspended organization again',
  description: 'Repeat it as you like.',
  access: 'operators',
  answers: { 200: { description: 'Served, from now on.', schema: suspension } },
  problems: [],
  examples: [
    {
      title: 'Resume',
      params: { organizationId: 'org_acme' },
      status: 200,
      answer: { organizationId: 'org_acme', suspendedSince: null },
    },
  ],
});
