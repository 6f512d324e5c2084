/** An object of Kubernetes as the install file holds it. */
export interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
  };
  readonly [field: string]: unknown;
}

/** What is to be installed, and where. */
export interface InstallOptions {
  /** pgspan's image. */
  readonly image: string;
  readonly imagePullPolicy?: 'IfNotPresent' | 'Always' | 'Never';
  /** Namespace of the operator. */
  readonly namespace: string;
  /** Replicas of the operator; one works, the others wait. */
  readonly replicas: number;
  /** Empty: all namespaces. */
  readonly watchNamespaces: readonly string[];
  /** Let nobody but monitoring and kubelets reach the operator. */
  readonly networkPolicy: boolean;
  readonly resources: {
    readonly requests: Readonly<Record<string, string>>;
    readonly limits: Readonly<Record<string, string>>;
  };
}

export const INSTALL_LABELS = {
  'app.kubernetes.io/name': 'pgspan-operator',
  'app.kubernetes.io/part-of': 'pgspan',
} as const;
