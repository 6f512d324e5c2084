/**
 * Where things are in the pods: paths, ports and users. The image's start scripts and the agents' configuration agree on
 * these; nobody else joins a path.
 */

/** What the init container copies out of pgspan's image: Node, its libraries, the agent. */
export const PROGRAM_FOLDER = '/opt/pgspan';
/** Where the init container finds the volume that the next container sees at PROGRAM_FOLDER. */
export const PROGRAM_TARGET = '/target';
export const INSTALL_PROGRAM = `${PROGRAM_FOLDER}/bin/install-program`;
export const INSTANCE_PROGRAM = `${PROGRAM_FOLDER}/bin/pgspan-instance`;
/** Below PROGRAM_TARGET: written by install-program for the uid that it runs as. */
export const PASSWD_FILE = 'etc/passwd';
export const PGSPAN_PROGRAM = `${PROGRAM_FOLDER}/bin/pgspan`;

export const CONFIG_FOLDER = '/etc/pgspan/config';
export const INSTANCE_CONFIG_KEY = 'instance.json';
export const PROXY_CONFIG_KEY = 'proxy.json';
export const TLS_FOLDER = '/etc/pgspan/tls';
/** Also where applications are told to mount the Secret `<group>-app`: its URIs name the CA's file here. */
export const APP_FOLDER = '/etc/pgspan/app';
export const SUPERUSER_FOLDER = '/etc/pgspan/superuser';
/** Passwords of the manifest's roles, one file each. */
export const ROLES_FOLDER = '/etc/pgspan/roles';
export const ETCD_TLS_FOLDER = '/etc/pgspan/etcd';
/** The volume of pgspan's own member of etcd; each membership has a folder below it. */
export const ETCD_VOLUME_FOLDER = '/var/lib/etcd';
/** Health and metrics of etcd, plain HTTP. */
export const ETCD_HEALTH_PORT = 2381;
/** Where Kubernetes mounts a pod's token and the CA of its API, and renews both. */
export const SERVICE_ACCOUNT_FOLDER = '/var/run/secrets/kubernetes.io/serviceaccount';

/** The node's volume. PGDATA is a folder below: a file system's root may hold lost+found. */
export const VOLUME_FOLDER = '/var/lib/pgspan';
export const DATA_DIRECTORY = `${VOLUME_FOLDER}/pgdata`;
export const STATE_DIRECTORY = `${VOLUME_FOLDER}/state`;
export const RUNTIME_DIRECTORY = '/run/pgspan';

/** `postgres` of the image that Docker's library has, which Debian's packages are in. Any other number works for the files. */
export const POD_UID = 999;
export const POD_USER = 'postgres';

/** Only this pod reaches it. */
export const PATH_PORT = 5481;
/** The resolver of SplitDNS: only this pod asks it. */
export const DNS_CONFIG_FOLDER = '/etc/pgspan/dns';
export const DNS_CONFIG_KEY = 'dns.json';
export const DNS_RESOLVER_ADDRESS = '127.0.0.1';
export const DNS_PORT = 53;
export const DNS_HEALTH_PORT = 5482;
export const PROXY_WRITE_PORT = 5432;
export const PROXY_READ_PORT = 5433;
export const PROXY_HEALTH_PORT = 5480;

/** The agent looks for PostgreSQL's programs in the image, which is the user's. */
export const POSTGRES_BIN = 'auto';
