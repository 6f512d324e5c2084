/** The CustomResourceDefinition of PostgresGroup, made from its schema (src/api) and the rules beside it (group-rules.ts). */
import { jsonSchemaWithMeanings } from '../../../api/json-schema.ts';
import { API_VERSION, KIND, postgresGroupSchema } from '../../../api/postgres-group.ts';
import { GROUP_NAME_LENGTH_MAX } from '../../../api/postgres-group-values.ts';
import { postgresGroupStatusSchema } from '../../../api/postgres-group-status.ts';
import { GROUP_RULES, type PathRules } from './group-rules.ts';
import { type StructuralSchema, structuralSchema } from './structural-schema.ts';

export const PLURAL = 'postgresgroups';
export const [API_GROUP = '', VERSION = ''] = API_VERSION.split('/');
export const CRD_NAME = `${PLURAL}.${API_GROUP}`;

interface PrinterColumn {
  readonly name: string;
  readonly type: 'string' | 'integer' | 'date';
  readonly jsonPath: string;
  readonly description: string;
  /** 1: with `-o wide` only. */
  readonly priority?: 1;
}

/** What `kubectl get pgg` shows. */
export const PRINTER_COLUMNS: readonly PrinterColumn[] = [
  { name: 'Leader', type: 'string', jsonPath: '.status.leader', description: 'Node that leads the global cluster.' },
  { name: 'Ready', type: 'string', jsonPath: '.status.ready', description: 'Nodes that serve, of those wanted.' },
  { name: 'Term', type: 'integer', jsonPath: '.status.term', description: 'Grows with every change of leader.' },
  { name: 'Lag', type: 'string', jsonPath: '.status.lag', description: 'The largest lag of a node of this group.' },
  { name: 'Age', type: 'date', jsonPath: '.metadata.creationTimestamp', description: 'How long ago it was made.' },
  { name: 'Reason', type: 'string', jsonPath: '.status.reason', description: 'The one word to know first.' },
  {
    name: 'Global',
    type: 'string',
    jsonPath: '.status.globalCluster',
    description: 'Name of the global cluster.',
    priority: 1,
  },
  { name: 'Image', type: 'string', jsonPath: '.spec.imageName', description: 'Image of PostgreSQL.', priority: 1 },
  {
    name: 'Message',
    type: 'string',
    jsonPath: '.status.message',
    description: 'The reason as a sentence.',
    priority: 1,
  },
];

export interface CustomResourceDefinition {
  readonly apiVersion: 'apiextensions.k8s.io/v1';
  readonly kind: 'CustomResourceDefinition';
  readonly metadata: { readonly name: string };
  readonly spec: {
    readonly versions: readonly ({ readonly schema: { readonly openAPIV3Schema: StructuralSchema } } & Record<
      string,
      unknown
    >)[];
  } & Record<string, unknown>;
}

export function postgresGroupCrd(): CustomResourceDefinition {
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: CRD_NAME },
    spec: {
      group: API_GROUP,
      names: {
        kind: KIND,
        listKind: `${KIND}List`,
        plural: PLURAL,
        singular: 'postgresgroup',
        shortNames: ['pgg'],
        categories: ['all', 'pgspan'],
      },
      scope: 'Namespaced',
      versions: [
        {
          name: VERSION,
          served: true,
          storage: true,
          subresources: {
            status: {},
            scale: {
              specReplicasPath: '.spec.instances',
              statusReplicasPath: '.status.instances',
              labelSelectorPath: '.status.selector',
            },
          },
          additionalPrinterColumns: PRINTER_COLUMNS,
          schema: { openAPIV3Schema: groupSchema() },
        },
      ],
    },
  };
}

function groupSchema(): StructuralSchema {
  const { spec } = jsonSchemaWithMeanings(postgresGroupSchema).properties ?? {};
  const status = jsonSchemaWithMeanings(postgresGroupStatusSchema);
  const unused = new Set(Object.keys(GROUP_RULES));
  const schema = withRules(
    {
      description: 'The PostgreSQL nodes of one Kubernetes cluster; several groups form one replicated database.',
      type: 'object',
      properties: {
        apiVersion: { type: 'string', description: 'Version of this resource.' },
        kind: { type: 'string', description: 'Kind of this resource.' },
        metadata: { type: 'object', properties: { name: { type: 'string', maxLength: GROUP_NAME_LENGTH_MAX } } },
        spec: structuralSchema(spec ?? {}, 'spec'),
        status: { ...structuralSchema(status, 'status'), description: 'What the operator saw.' },
      },
      required: ['spec'],
    },
    '',
    unused,
  );
  if (unused.size > 0)
    throw new TypeError(`Cannot make the CRD: rules for ${[...unused].join(', ')}, which the schema has not`);
  return schema;
}

/** @param unused paths of rules; those that are applied are taken out. */
function withRules(schema: StructuralSchema, path: string, unused: Set<string>): StructuralSchema {
  unused.delete(path);
  const of: PathRules = GROUP_RULES[path] ?? {};
  const rules = [...(schema['x-kubernetes-validations'] ?? []), ...(of.rules ?? [])];
  const { properties, items, additionalProperties } = schema;
  const child = (key: string) => (path === '' ? key : `${path}.${key}`);
  return {
    ...schema,
    ...of.schema,
    ...(properties === undefined
      ? {}
      : {
          properties: Object.fromEntries(
            Object.entries(properties).map(([key, field]) => [key, withRules(field, child(key), unused)]),
          ),
        }),
    ...(items === undefined ? {} : { items: withRules(items, `${path}[]`, unused) }),
    ...(additionalProperties === undefined
      ? {}
      : { additionalProperties: withRules(additionalProperties, `${path}[]`, unused) }),
    ...(rules.length === 0 ? {} : { 'x-kubernetes-validations': rules }),
  };
}
