import { describe, expect, test } from 'vitest';
import { jobListQuery, jobQuery, jobRequest, writeAdmittedJob, writeJob } from '../../contract/jobs.ts';
import { FEATURES } from '../../domain/catalog.ts';
import { END_CODES, type EndCode } from '../../domain/jobStates.ts';

const ENDED = {
  id: 'job',
  feature: 'generate_goal',
  state: 'refunded',
  tokenType: 'goal_generation',
  tokens: 3,
  debt: 0,
  endCode: 'operation_failed',
  result: null,
  usage: null,
  createdAt: new Date('2026-11-24T10:00:00.123Z'),
  beganAt: null,
  cancelRequestedAt: null,
  endedAt: new Date('2026-11-24T10:00:01Z'),
  inputErasedAt: null,
  resultErasedAt: null,
} as const;

describe('a job on the wire', () => {
  test('is asked for by every feature of the catalogue and by no other', () => {
    for (const feature of FEATURES) {
      const issues = jobRequest.safeParse({ feature, input: {} }).error?.issues ?? [];
      expect(issues.map(({ path }) => path[0])).not.toContain('feature');
    }
    expect(jobRequest.safeParse({ feature: 'generate_money', input: {} }).success).toBe(false);
  });

  test('has instants in UTC, whatever zone the database session wrote them in', () => {
    const answer = writeAdmittedJob({
      id: 'job',
      feature: 'generate_goal',
      state: 'admitted',
      tokenType: 'goal_generation',
      tokens: 3,
      createdAt: '2026-11-24T11:00:00.123456+01:00',
      holdExpiresAt: '2026-11-24T10:01:00.123456+00:00',
    });
    expect([answer.createdAt, answer.holdExpiresAt]).toEqual(['2026-11-24T10:00:00.123Z', '2026-11-24T10:01:00.123Z']);
    expect(writeJob(ENDED)).toMatchObject({ createdAt: '2026-11-24T10:00:00.123Z', beganAt: null });
  });

  test('says why it ended without a charge, also with a code that a newer version wrote', () => {
    expect(writeJob(ENDED).end).toEqual({ code: 'operation_failed', message: END_CODES.operation_failed });
    expect(writeJob({ ...ENDED, endCode: 'of_tomorrow' as EndCode }).end).toEqual({
      code: 'of_tomorrow',
      message: 'The job ended without a charge.',
    });
  });
});

describe('queries', () => {
  test.each([
    ['0s', 0],
    ['20s', 20_000],
    ['30s', 30_000],
  ])('wait=%s is %d ms', (wait, ms) => {
    expect(jobQuery.parse({ wait })).toEqual({ wait: ms });
  });

  test('a list has 20 jobs unless asked otherwise, and at most 100', () => {
    expect(jobListQuery.parse({}).limit).toBe(20);
    expect(jobListQuery.parse({ limit: '100' }).limit).toBe(100);
    expect(jobListQuery.safeParse({ limit: '101' }).success).toBe(false);
  });
});
