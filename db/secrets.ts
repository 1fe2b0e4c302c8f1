import { createHash, randomBytes } from 'node:crypto';

/** So much of a secret is kept and shown, to tell keys apart: its kind, and 24 of its 256 bits. */
export const PREFIX_LENGTH = 12;

/** A credential that begins with `prefix`: 256 random bits, so that its SHA-256 alone need be kept, without salt or stretching. */
export function newSecret(prefix: 'tg_live_' | 'tg_test_' | 'tg_op_'): string {
  return `${prefix}${randomBytes(32).toString('base64url')}`;
}

/**
 * What is kept of a secret, and looked up. Comparing hashes in an index tells nobody who measures it how much of a secret
 * he guessed: a hash that begins right says nothing about the secret behind it.
 */
export function secretHash(secret: string): Buffer {
  return createHash('sha256').update(secret).digest();
}
