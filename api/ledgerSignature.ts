import { createPublicKey, type KeyObject, sign } from 'node:crypto';
import type { LedgerHead } from '../contract/ledger.ts';

type UnsignedHead = Pick<LedgerHead, 'organizationId' | 'tokenType' | 'sealNumber' | 'lastEntry' | 'hash'>;

/** Signs heads with an Ed25519 private key; without one they say that they are not signed. */
export function createHeadSigner(privateKey: KeyObject | undefined): (head: UnsignedHead) => LedgerHead {
  const publicKey = privateKey && createPublicKey(privateKey).export({ type: 'spki', format: 'pem' }).toString();
  return ({ organizationId, tokenType, sealNumber, lastEntry, hash }) => {
    const head = { organizationId, tokenType, sealNumber, lastEntry, hash };
    if (privateKey === undefined) return { ...head, isSigned: false, signature: null, publicKey: null };
    const signature = sign(null, Buffer.from(signedText(head)), privateKey).toString('base64');
    return { ...head, isSigned: true, signature, publicKey: publicKey! };
  };
}

/**
 * What is signed: six lines, each ended by a line feed. The first says what it is, so that a signature of this key under
 * anything else cannot pass for a head. None of the others can hold a line feed.
 */
function signedText({ organizationId, tokenType, sealNumber, lastEntry, hash }: UnsignedHead): string {
  return `tollgate ledger head 1\n${organizationId}\n${tokenType}\n${sealNumber}\n${lastEntry}\n${hash}\n`;
}
