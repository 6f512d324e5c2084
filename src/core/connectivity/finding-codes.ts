/** What `pgspan doctor` can find, by its code: constant words for machines, like the reasons of a status. */
export const FINDINGS = {
  DomainWrong: {
    severity: 'error',
    meaning: 'No name under a domain of the manifest resolves.',
    todo: 'Correct `.spec.connectivity.dns.domain`, or delegate the zone to the resolver that is named; `pgspan dns records` prints its records.',
  },
  NameUnresolved: {
    severity: 'error',
    meaning: 'A name does not resolve, while others of its domain do. A warning where only clients outside use it.',
    todo: 'Make its record (`pgspan dns records` prints it), or look why external-dns does not.',
  },
  NameOfAnother: {
    severity: 'error',
    meaning: 'A name leads to a program of another node or another global cluster.',
    todo: 'Correct the record of the name; two clusters may publish the same one.',
  },
  ResolverSilent: {
    severity: 'error',
    meaning: 'The resolver of a program gives no answer in time.',
    todo: 'Look at the name servers that are listed, and at the way to them (UDP and TCP 53).',
  },
  Hairpin: {
    severity: 'warning',
    meaning: 'A server dials another of its own cluster through a load balancer: out of the cluster and back in.',
    todo: 'Set `.spec.connectivity.internodeTrafficStrategy: SplitDNS`, or `ServiceName`.',
  },
  PortBlocked: {
    severity: 'error',
    meaning: 'Packets to a port get no answer.',
    todo: 'Open the port in firewalls, security groups and network policies between the two.',
  },
  PortRefused: {
    severity: 'error',
    meaning: 'Nothing listens on a port.',
    todo: 'Look whether the program runs (`pgspan status`, `pgspan logs NAME`), and whether the name leads to it.',
  },
  ProgramLost: {
    severity: 'error',
    meaning: 'A program answers nobody on any port: stopped, frozen, or cut off.',
    todo: '`pgspan status` says what is known of it; look at its machine or pod.',
  },
  BalancerWithoutAddress: {
    severity: 'error',
    meaning: 'A Service of type LoadBalancer has got neither an address nor a host name.',
    todo: 'Look at its events (`kubectl describe service NAME`): quota, class, or no provider of load balancers.',
  },
  NameNotInCertificate: {
    severity: 'error',
    meaning: 'A certificate does not carry the name that is dialled.',
    todo: 'Renew the certificate; with an issuer of your own, let it sign all names that `pgspan plan` lists.',
  },
  CertificateForeign: {
    severity: 'error',
    meaning: 'Nobody trusts a certificate: its CA is in no trust bundle.',
    todo: 'Issue it again from the CA of its cluster, or take that CA into the trust bundle.',
  },
  BundleStale: {
    severity: 'error',
    meaning: 'A program does not trust a certificate that others trust: its trust bundle lacks a CA.',
    todo: 'Bring the present trust bundle to it; look whether it takes changed files (`pgspan logs NAME`).',
  },
  CertificateExpired: {
    severity: 'error',
    meaning: 'A certificate has ended.',
    todo: 'Renew it; look why that did not happen by itself (operator, cert-manager, or the files of the node).',
  },
  CertificateNotYetValid: {
    severity: 'error',
    meaning: 'A certificate begins in the future.',
    todo: 'Compare the clocks of its issuer and of this machine.',
  },
  CertificateRefused: {
    severity: 'error',
    meaning: 'A program refuses the certificate of one that dials it.',
    todo: 'Compare the certificate of the one with the trust bundle of the other; look into the log of the one that refuses.',
  },
  NoTls: {
    severity: 'error',
    meaning: 'PostgreSQL answers without TLS, or something else listens there.',
    todo: 'Look what listens on the port; a middlebox may end TLS.',
  },
  NoAnswer: {
    severity: 'error',
    meaning: 'A connection is taken, and then nothing comes.',
    todo: 'Look whether the program is frozen, or a proxy has no leader to pass to (`pgspan status`).',
  },
  PasswordWrong: {
    severity: 'error',
    meaning: 'PostgreSQL refuses the password of the application.',
    todo: 'Bring Secret (or file) and database together: set the password in the Secret that the manifest names.',
  },
  LoginRefused: {
    severity: 'error',
    meaning: 'PostgreSQL refuses a login, by pg_hba.conf or by the certificate.',
    todo: 'Look at `.spec.postgresql.pg_hba`, and whether the server has loaded its present configuration.',
  },
  ClockOff: {
    severity: 'error',
    meaning: 'The clock of a machine differs from that of this one: certificates seem expired or not yet valid there.',
    todo: 'Synchronise the clock of the machine that is named (chrony, systemd-timesyncd).',
  },
  SourceSilent: {
    severity: 'error',
    meaning: 'A program could not be asked what it finds, so its edges were not tried.',
    todo: '`pgspan status` and `pgspan logs NAME` say more.',
  },
  EdgeBroken: {
    severity: 'error',
    meaning: 'An edge fails in another way; the message says how.',
    todo: '`pgspan doctor --all -o yaml` shows every step.',
  },
} as const satisfies Readonly<
  Record<string, { readonly severity: 'error' | 'warning'; readonly meaning: string; readonly todo: string }>
>;

export type FindingCode = keyof typeof FINDINGS;
