import { rowsOfPage } from './rowsOfPage.ts';

/**
 * The order of the entries in time, and the chain of seals over them, in the form of the checks of verify.ts. What they cannot find is a chain that somebody with every
 * right has made anew from the first changed entry to its end: that is what a signed head, kept elsewhere, is for
 * (docs/guides/LEDGER.md).
 */
export const CHAIN_CHECKS = [
  {
    name: 'I6 order of time',
    sentence:
      'No entry of a balance took effect before the one that precedes it: a past moment is found by searching for it.',
    query: `select e.organization_id, e.token_type, e.entry_number, e.kind, e.effective_at, e.effective_before
              from (select l.*, lag(l.effective_at) over (partition by l.organization_id, l.token_type order by l.entry_number) as effective_before
                      from ${rowsOfPage('tollgate.ledger_entries')} l) e
             where e.effective_at < e.effective_before`,
  },
  {
    name: 'I6 chain links',
    sentence:
      'The seals of a balance are numbered from 1, cover its entries from 1 on without gaps, each on top of the hash before.',
    query: `select s.organization_id, s.token_type, s.seal_number, s.first_entry, s.last_entry, s.seal_before, s.entry_before
              from (select l.*,
                           lag(l.seal_number, 1, 0::bigint) over seals as seal_before,
                           lag(l.last_entry, 1, 0::bigint)  over seals as entry_before,
                           lag(l.hash, 1, decode(repeat('00', 32), 'hex')) over seals as hash_before
                      from ${rowsOfPage('tollgate.ledger_seals')} l
                    window seals as (partition by l.organization_id, l.token_type order by l.first_entry)) s
             where s.seal_number <> s.seal_before + 1
                or s.first_entry <> s.entry_before + 1
                or s.last_entry not between s.first_entry and s.first_entry + 999
                or s.previous_hash <> s.hash_before`,
  },
  {
    name: 'I6 chain hashes',
    sentence: 'Every sealed entry is there, and is what it was when it was sealed.',
    query: `select s.organization_id, s.token_type, s.seal_number, s.first_entry, s.last_entry, h.entries,
                   encode(s.hash, 'hex') as sealed_hash, encode(h.hash, 'hex') as hash_of_entries
              from ${rowsOfPage('tollgate.ledger_seals')} s
             cross join lateral tollgate.hash_entries(s.previous_hash, s.organization_id, s.token_type, s.first_entry, s.last_entry) h
             where h.hash <> s.hash or h.entries <> s.last_entry - s.first_entry + 1`,
  },
  {
    name: 'I6 chain end',
    sentence: 'Nothing is sealed beyond the last entry that its balance keeps.',
    query: `select s.organization_id, s.token_type, max(s.last_entry) as last_sealed, b.last_entry
              from ${rowsOfPage('tollgate.ledger_seals')} s
              left join tollgate.balances b on b.organization_id = s.organization_id and b.token_type = s.token_type
             group by s.organization_id, s.token_type, b.last_entry
            having max(s.last_entry) > coalesce(b.last_entry, 0)`,
  },
] as const;
