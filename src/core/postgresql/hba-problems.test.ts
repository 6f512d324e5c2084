import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { hbaProblems, identProblems, splitHbaLine } from './hba-problems.ts';

const FORM = 'accepted: "hostssl DATABASE USER ADDRESS METHOD [OPTION=VALUE …]"';

describe('rules of pg_hba', () => {
  it('are let through when PostgreSQL takes them and they keep to TLS', () => {
    const lines = [
      '# a comment',
      '',
      'hostssl app reporting 10.0.0.0/8 scram-sha-256',
      'hostssl app,"my db" +readers 192.168.0.0 255.255.0.0 cert map=people # why',
      'hostssl all all 2001:db8::/32 ldap ldapserver=ldap.example.com ldapprefix="cn="',
      'hostssl all all all cert',
      'hostssl "all" "all" samenet scram-sha-256',
      'hostssl replication backup 10.0.0.1/32 scram-sha-256',
      'host all guest all reject',
      'hostnossl all all all reject',
      'local all all peer',
    ];
    assert.deepEqual(hbaProblems(lines), []);
  });

  it('are refused with what is wrong', () => {
    const table: [line: string, found: string, accepted: string][] = [
      [
        'hosttls all all all md5',
        'found "hosttls" as the kind of connection',
        'accepted: local, host, hostssl, hostnossl, hostgssenc, hostnogssenc',
      ],
      [
        'host all all 10.0.0.0/8 scram-sha-256',
        '"host" would let in connections without TLS',
        'accepted: "hostssl", or the method "reject"',
      ],
      [
        'hostnossl all all all trust',
        '"hostnossl" would let in connections without TLS',
        'accepted: "hostssl", or the method "reject"',
      ],
      [
        'hostssl all all leo-1.example.com scram-sha-256',
        'found the name "leo-1.example.com" as the address',
        'accepted: a range such as "10.0.0.0/8", all, samehost or samenet; a rule that waits for DNS can lock everybody out',
      ],
      ['hostssl all all 10.0.0.1 scram-sha-256', 'found "10.0.0.1" without a range', 'accepted: "10.0.0.1/32"'],
      [
        'hostssl all all 10.0.0.0/40 scram-sha-256',
        'found the range "10.0.0.0/40"',
        'accepted: a range such as "10.0.0.0/8"',
      ],
      ['hostssl all all all', 'it has no method', FORM],
      ['hostssl all', 'it has no user', FORM],
      [
        'hostssl all all all scram',
        'found "scram" as the method',
        'accepted: trust, reject, scram-sha-256, md5, password, gss, sspi, ident, peer, ldap, radius, cert, pam, bsd, oauth',
      ],
      [
        'hostssl @databases all all scram-sha-256',
        'found a list in another file',
        'write the names themselves, since no other file is read',
      ],
      ['include other.conf', 'no other file is read', 'write the lines themselves'],
      [
        'hostssl all all all trust\nhost all all all trust',
        'found a line break',
        'accepted: one line in each entry of the list',
      ],
      ['hostssl all "all all scram-sha-256', 'a quote is not closed', 'close it'],
      ['hostssl all all all \\', 'found a "\\" at the end', 'write the whole line in one entry'],
    ];
    for (const [line, found, accepted] of table)
      assert.deepEqual(hbaProblems(['# first', line]), [{ index: 1, found, accepted }], line);
  });

  it('never make the judgement fail, whatever they hold', () => {
    fc.assert(
      fc.property(
        fc.array(fc.string({ unit: 'binary', maxLength: 60 }), { maxLength: 5 }),
        (lines) => hbaProblems(lines).length <= lines.length,
      ),
    );
  });
});

describe('maps of pg_ident', () => {
  it('have three words and a name of their own', () => {
    assert.deepEqual(identProblems(['people /^(.*)@example\\.com$ \\1', '# c']), []);
    assert.deepEqual(identProblems(['people anna']), [
      { index: 0, found: 'found 2 words', accepted: 'accepted: "MAP SYSTEM-USER DATABASE-USER"' },
    ]);
    assert.equal(identProblems(['pgspan anna postgres'])[0]?.found, 'the map "pgspan" belongs to pgspan');
  });
});

describe('splitHbaLine', () => {
  it('reads lists, quotes and comments as PostgreSQL does', () => {
    assert.deepEqual(splitHbaLine('hostssl a, b ,c "my user" all x#y'), ['hostssl', 'a,b,c', 'my user', 'all', 'x']);
  });
});
