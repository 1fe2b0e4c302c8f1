import { describe, expect, test } from 'vitest';
import { PROBLEM_CODES, PROBLEMS, problem, problemBody } from '../../contract/problems.ts';

describe('the error catalogue', () => {
  test.each(PROBLEM_CODES)('%s has a status, a title and a sentence of its own that says what to do', (code) => {
    const { status, title, detail } = PROBLEMS[code];
    expect(code).toMatch(/^[a-z]+(_[a-z]+)*$/);
    expect(status).toBeGreaterThanOrEqual(400);
    expect(title).toMatch(/^[A-Z].*[^.]$/);
    expect(detail).toMatch(/^[A-Z].*\.$/);
    expect(PROBLEM_CODES.filter((other) => PROBLEMS[other].title === title)).toEqual([code]);
    expect(problem.parse(problemBody(code, 'request'))).toMatchObject({ code, status, requestId: 'request' });
  });
});
