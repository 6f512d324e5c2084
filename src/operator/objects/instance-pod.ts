/**
 * The pod of a node: PostgreSQL's own image, with the agent in it as PID 1's child.
 *
 *   init container `program`    copies Node and the agent out of pgspan's image into a volume
 *   init container `dns`        under SplitDNS: the resolver, which goes on running (dns-sidecar.ts)
 *   container `postgres`        the user's image; runs the agent from that volume, which runs PostgreSQL
 */
import { LABEL } from '../../api/labels.ts';
import { AGENT_PORT, appSecret, POSTGRES_PORT, superuserSecret } from '../../core/topology/names.ts';
import type { Container, PodTemplate, Resources, Volume, VolumeMount } from '../../platform/kubernetes/object-types.ts';
import { groupLabels } from './metadata.ts';
import { instanceAccount, nodeConfigMap, nodeTlsSecret, rolesSecret, VOLUME_CLAIM_TEMPLATE } from './object-names.ts';
import {
  CONTAINER_SECURITY,
  POD_SECURITY,
  probe,
  SECRET_FILE_MODE,
  schedulingOf,
  untilReady,
  withRevision,
} from './pod-parts.ts';
import {
  APP_FOLDER,
  CONFIG_FOLDER,
  ETCD_TLS_FOLDER,
  INSTALL_PROGRAM,
  INSTANCE_CONFIG_KEY,
  INSTANCE_PROGRAM,
  PASSWD_FILE,
  PROGRAM_FOLDER,
  PROGRAM_TARGET,
  ROLES_FOLDER,
  RUNTIME_DIRECTORY,
  SUPERUSER_FOLDER,
  TLS_FOLDER,
  VOLUME_FOLDER,
} from './pod-places.ts';
import { resolverParts } from './dns-sidecar.ts';
import type { RenderInput } from './render-input.ts';
import { etcdTlsSecret, usesLease } from './store-config.ts';

/**
 * A hand-over takes a second and the shutdown's checkpoint what the disk takes for the dirty buffers. After this the kernel
 * kills PostgreSQL, which costs crash recovery and no data.
 */
const TERMINATION_GRACE_SECONDS = 180;

/** Sockets, a password file of the agent, heartbeats: a few KiB. */
const RUNTIME_SIZE_LIMIT = '16Mi';
/** Node, its libraries and the bundle are about 170 MiB. */
const PROGRAM_SIZE_LIMIT = '512Mi';

export const POSTGRES_CONTAINER = 'postgres';

export function renderInstancePod(input: RenderInput, node: string): PodTemplate {
  const resolver = resolverParts(input, 'postgres');
  return withRevision({
    metadata: { labels: { ...groupLabels(input, 'postgres'), [LABEL.node]: node } },
    spec: {
      serviceAccountName: instanceAccount(input.groupPlan.name),
      automountServiceAccountToken: usesLease(input),
      enableServiceLinks: false,
      terminationGracePeriodSeconds: TERMINATION_GRACE_SECONDS,
      securityContext: { ...POD_SECURITY, ...resolver.sysctls },
      ...resolver.dns,
      ...schedulingOf(input, 'postgres'),
      initContainers: [programContainer(input), ...resolver.initContainers],
      containers: [postgresContainer(input)],
      volumes: [...volumes(input, node), ...resolver.volumes],
    },
  });
}

function programContainer(input: RenderInput): Container {
  const { programImage, imagePullPolicy } = input.facts;
  return {
    name: 'program',
    image: programImage,
    ...(imagePullPolicy === undefined ? {} : { imagePullPolicy }),
    command: [INSTALL_PROGRAM, PROGRAM_TARGET],
    // The same as PostgreSQL's: the pod's share is the larger of the two, and stays Guaranteed if the user asked for that.
    resources: resourcesOf(input),
    securityContext: CONTAINER_SECURITY,
    volumeMounts: [{ name: 'program', mountPath: PROGRAM_TARGET }],
  };
}

function postgresContainer(input: RenderInput): Container {
  const { imagePullPolicy } = input.facts;
  return {
    name: POSTGRES_CONTAINER,
    image: input.groupPlan.imageName,
    ...(imagePullPolicy === undefined ? {} : { imagePullPolicy }),
    command: [INSTANCE_PROGRAM, `${CONFIG_FOLDER}/${INSTANCE_CONFIG_KEY}`],
    ports: [
      { name: 'postgres', containerPort: POSTGRES_PORT, protocol: 'TCP' },
      { name: 'agent', containerPort: AGENT_PORT, protocol: 'TCP' },
    ],
    startupProbe: untilReady('agent'),
    // An agent that died is started again in the pod. This is for one that hangs; a busy machine is no such thing for a minute.
    livenessProbe: probe('/livez', 'agent', { periodSeconds: 20, timeoutSeconds: 5, failureThreshold: 3 }),
    // No traffic depends on it: agents and proxies have streams. It is for people, for `kubectl rollout` and for budgets.
    readinessProbe: probe('/readyz', 'agent', { periodSeconds: 5, timeoutSeconds: 3, failureThreshold: 2 }),
    resources: resourcesOf(input),
    securityContext: CONTAINER_SECURITY,
    volumeMounts: mounts(input),
  };
}

function mounts(input: RenderInput): VolumeMount[] {
  return [
    { name: 'program', mountPath: PROGRAM_FOLDER, readOnly: true },
    // Gives the pod's uid the name POD_USER, whatever the image has: initdb and `peer` ask for one.
    { name: 'program', mountPath: '/etc/passwd', subPath: PASSWD_FILE, readOnly: true },
    { name: 'config', mountPath: CONFIG_FOLDER, readOnly: true },
    { name: 'tls', mountPath: TLS_FOLDER, readOnly: true },
    { name: 'app', mountPath: APP_FOLDER, readOnly: true },
    { name: 'roles', mountPath: ROLES_FOLDER, readOnly: true },
    { name: 'superuser', mountPath: SUPERUSER_FOLDER, readOnly: true },
    ...(etcdTlsSecret(input) === null ? [] : [{ name: 'etcd', mountPath: ETCD_TLS_FOLDER, readOnly: true }]),
    { name: VOLUME_CLAIM_TEMPLATE, mountPath: VOLUME_FOLDER },
    { name: 'run', mountPath: RUNTIME_DIRECTORY },
    { name: 'tmp', mountPath: '/tmp' },
    // A container's own has 64 MiB, too little for parallel queries.
    { name: 'shm', mountPath: '/dev/shm' },
  ];
}

function volumes(input: RenderInput, node: string): Volume[] {
  const { groupPlan } = input;
  const etcd = etcdTlsSecret(input);
  const password = [{ key: 'password', path: 'password' }];
  const secret = (
    name: string,
    secretName: string,
    more: { readonly items?: typeof password; readonly optional?: boolean } = {},
  ): Volume => ({ name, secret: { secretName, defaultMode: SECRET_FILE_MODE, ...more } });
  return [
    { name: 'program', emptyDir: { sizeLimit: PROGRAM_SIZE_LIMIT } },
    { name: 'config', configMap: { name: nodeConfigMap(node) } },
    secret('tls', nodeTlsSecret(node)),
    secret('app', appSecret(groupPlan.name), { items: password }),
    secret('roles', rolesSecret(groupPlan.name)),
    // There only while remote access is asked for; that must not need a new pod.
    secret('superuser', superuserSecret(groupPlan.name), { items: password, optional: true }),
    ...(etcd === null ? [] : [secret('etcd', etcd)]),
    { name: 'run', emptyDir: { medium: 'Memory', sizeLimit: RUNTIME_SIZE_LIMIT } },
    { name: 'tmp', emptyDir: {} },
    { name: 'shm', emptyDir: { medium: 'Memory' } },
  ];
}

function resourcesOf({ group }: RenderInput): Resources {
  const { requests, limits } = group.spec.resources;
  return {
    ...(Object.keys(requests).length === 0 ? {} : { requests: definedOf(requests) }),
    ...(Object.keys(limits).length === 0 ? {} : { limits: definedOf(limits) }),
  };
}

function definedOf(amounts: { readonly cpu?: string | undefined; readonly memory?: string | undefined }) {
  return Object.fromEntries(Object.entries(amounts).filter((one): one is [string, string] => one[1] !== undefined));
}
