/**
 * Objects of the Kubernetes API, as far as pgspan writes them: the fields that we set, no others.
 * https://kubernetes.io/docs/reference/generated/kubernetes-api/v1.36/
 */

export interface ObjectMeta {
  readonly name: string;
  readonly namespace: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly ownerReferences?: readonly OwnerReference[];
}

export interface OwnerReference {
  readonly apiVersion: string;
  readonly kind: string;
  readonly name: string;
  readonly uid: string;
  readonly controller?: boolean;
  readonly blockOwnerDeletion?: boolean;
}

interface ObjectOf<ApiVersion extends string, Kind extends string> {
  readonly apiVersion: ApiVersion;
  readonly kind: Kind;
  readonly metadata: ObjectMeta;
}

export interface Service extends ObjectOf<'v1', 'Service'> {
  /** The user's template is merged in, so it may hold any field of a ServiceSpec. */
  readonly spec: Readonly<Record<string, unknown>>;
}

export interface ConfigMap extends ObjectOf<'v1', 'ConfigMap'> {
  readonly data: Readonly<Record<string, string>>;
}

export interface Secret extends ObjectOf<'v1', 'Secret'> {
  readonly type: 'Opaque' | 'kubernetes.io/tls' | 'kubernetes.io/basic-auth';
  /** Values in base64. */
  readonly data: Readonly<Record<string, string>>;
}

export interface ServiceAccount extends ObjectOf<'v1', 'ServiceAccount'> {
  readonly automountServiceAccountToken: boolean;
}

export interface Role extends ObjectOf<'rbac.authorization.k8s.io/v1', 'Role'> {
  readonly rules: readonly {
    readonly apiGroups: readonly string[];
    readonly resources: readonly string[];
    readonly resourceNames?: readonly string[];
    readonly verbs: readonly string[];
  }[];
}

export interface RoleBinding extends ObjectOf<'rbac.authorization.k8s.io/v1', 'RoleBinding'> {
  readonly roleRef: { readonly apiGroup: 'rbac.authorization.k8s.io'; readonly kind: 'Role'; readonly name: string };
  readonly subjects: readonly { readonly kind: 'ServiceAccount'; readonly name: string; readonly namespace: string }[];
}

export type Lease = ObjectOf<'coordination.k8s.io/v1', 'Lease'>;

export interface LabelSelector {
  readonly matchLabels?: Readonly<Record<string, string>>;
}

export interface StatefulSet extends ObjectOf<'apps/v1', 'StatefulSet'> {
  readonly spec: {
    readonly replicas: number;
    readonly serviceName: string;
    readonly podManagementPolicy: 'Parallel';
    readonly revisionHistoryLimit: number;
    readonly updateStrategy: { readonly type: 'OnDelete' };
    readonly persistentVolumeClaimRetentionPolicy: {
      readonly whenDeleted: 'Retain' | 'Delete';
      readonly whenScaled: 'Retain';
    };
    readonly selector: LabelSelector;
    readonly template: PodTemplate;
    readonly volumeClaimTemplates: readonly VolumeClaimTemplate[];
  };
}

export interface VolumeClaimTemplate {
  readonly metadata: { readonly name: string; readonly labels?: Readonly<Record<string, string>> };
  readonly spec: {
    readonly accessModes: readonly ['ReadWriteOnce'];
    readonly storageClassName?: string;
    readonly resources: { readonly requests: { readonly storage: string } };
  };
}

export interface Deployment extends ObjectOf<'apps/v1', 'Deployment'> {
  readonly spec: {
    readonly replicas: number;
    readonly revisionHistoryLimit: number;
    readonly strategy: {
      readonly type: 'RollingUpdate';
      readonly rollingUpdate: { readonly maxUnavailable: number; readonly maxSurge: number };
    };
    readonly selector: LabelSelector;
    readonly template: PodTemplate;
  };
}

export interface PodTemplate {
  readonly metadata: {
    readonly labels: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
  };
  readonly spec: PodSpec;
}

export interface PodSpec {
  readonly serviceAccountName: string;
  readonly automountServiceAccountToken: boolean;
  readonly enableServiceLinks: boolean;
  readonly terminationGracePeriodSeconds: number;
  readonly priorityClassName?: string;
  readonly nodeSelector?: Readonly<Record<string, string>>;
  readonly tolerations?: readonly Readonly<Record<string, unknown>>[];
  readonly securityContext: {
    readonly runAsNonRoot: true;
    readonly runAsUser: number;
    readonly runAsGroup: number;
    readonly fsGroup: number;
    readonly fsGroupChangePolicy: 'OnRootMismatch';
    readonly seccompProfile: { readonly type: 'RuntimeDefault' };
    readonly sysctls?: readonly { readonly name: string; readonly value: string }[];
  };
  /** Default: ClusterFirst. */
  readonly dnsPolicy?: 'None';
  readonly dnsConfig?: {
    readonly nameservers: readonly string[];
    readonly searches: readonly string[];
    readonly options: readonly { readonly name: string; readonly value?: string }[];
  };
  readonly affinity: Readonly<Record<string, unknown>>;
  readonly topologySpreadConstraints: readonly Readonly<Record<string, unknown>>[];
  readonly initContainers?: readonly Container[];
  readonly containers: readonly Container[];
  readonly volumes: readonly Volume[];
}

export interface Container {
  readonly name: string;
  readonly image: string;
  readonly imagePullPolicy?: 'IfNotPresent' | 'Always' | 'Never';
  /** Of an init container: it goes on running beside the others. */
  readonly restartPolicy?: 'Always';
  readonly command: readonly string[];
  readonly args?: readonly string[];
  readonly env?: readonly { readonly name: string; readonly value: string }[];
  /** All keys of a ConfigMap as they are when the container starts. */
  readonly envFrom?: readonly { readonly configMapRef: { readonly name: string } }[];
  readonly terminationMessagePolicy?: 'FallbackToLogsOnError';
  readonly ports?: readonly { readonly name: string; readonly containerPort: number; readonly protocol: 'TCP' }[];
  readonly startupProbe?: Probe;
  readonly livenessProbe?: Probe;
  readonly readinessProbe?: Probe;
  readonly lifecycle?: { readonly preStop: { readonly sleep: { readonly seconds: number } } };
  readonly resources: Resources;
  readonly securityContext: {
    readonly allowPrivilegeEscalation: false;
    readonly capabilities: { readonly drop: readonly ['ALL'] };
    readonly readOnlyRootFilesystem: true;
  };
  readonly volumeMounts: readonly VolumeMount[];
}

export interface Probe {
  readonly httpGet: { readonly path: string; readonly port: string; readonly scheme: 'HTTPS' | 'HTTP' };
  readonly periodSeconds: number;
  readonly timeoutSeconds: number;
  readonly failureThreshold: number;
}

export interface Resources {
  readonly requests?: Readonly<Record<string, string>>;
  readonly limits?: Readonly<Record<string, string>>;
}

export interface VolumeMount {
  readonly subPath?: string;
  readonly name: string;
  readonly mountPath: string;
  readonly readOnly?: boolean;
}

interface FileItem {
  readonly key: string;
  readonly path: string;
}

export type Volume = { readonly name: string } & (
  | { readonly emptyDir: { readonly medium?: 'Memory'; readonly sizeLimit?: string } }
  | { readonly configMap: { readonly name: string } }
  | {
      readonly secret: {
        readonly secretName: string;
        readonly defaultMode: number;
        readonly items?: readonly FileItem[];
        /** The pod starts without it, and gets the files when it is there. */
        readonly optional?: boolean;
      };
    }
);

export interface PodDisruptionBudget extends ObjectOf<'policy/v1', 'PodDisruptionBudget'> {
  readonly spec: {
    readonly minAvailable?: number;
    readonly maxUnavailable?: number;
    readonly selector: LabelSelector;
  };
}

export interface NetworkPolicy extends ObjectOf<'networking.k8s.io/v1', 'NetworkPolicy'> {
  readonly spec: {
    readonly podSelector: LabelSelector;
    readonly policyTypes: readonly ['Ingress'];
    readonly ingress: readonly {
      readonly from?: readonly Readonly<Record<string, unknown>>[];
      readonly ports: readonly { readonly protocol: 'TCP'; readonly port: string | number }[];
    }[];
  };
}

export type GroupObject =
  | Service
  | ConfigMap
  | Secret
  | ServiceAccount
  | Role
  | RoleBinding
  | Lease
  | StatefulSet
  | Deployment
  | PodDisruptionBudget
  | NetworkPolicy;

export type GroupObjectKind = GroupObject['kind'];
