/** The long parts of `pgspan plan`: settings, access rules, certificates. Groups that have the same share one section. */
import { formatTable, wrapText } from '../base/text-table.ts';
import type { Setting } from '../core/postgresql/settings.ts';
import type { GlobalPlan, GroupPlan } from '../core/topology/plan-types.ts';
import type { PlanTextOptions } from './plan-text.ts';

type Section = [title: string, body: string];

const ORIGIN_ORDER = ['user', 'tuned', 'default', 'owned'] as const;

/** Without details, the user's and the tuned ones: what the manifests and the size of the nodes lead to. */
export function formatSettings(plan: GlobalPlan, options: PlanTextOptions): Section[] {
  const shown = (settings: readonly Setting[]) =>
    ORIGIN_ORDER.flatMap((origin) => settings.filter((setting) => setting.origin === origin)).filter(
      ({ origin }) => options.details || origin === 'user' || origin === 'tuned',
    );
  const textOf = (group: GroupPlan) => {
    const rows = shown(group.settings).map((setting) => [
      setting.name,
      setting.value ?? '(known where it runs)',
      setting.origin,
      options.details ? setting.appliesBy : '',
      setting.reason,
    ]);
    const header = ['SETTING', 'VALUE', 'FROM', 'CHANGED BY', 'WHY'];
    return rows.length === 0
      ? ''
      : formatTable(header, rows, { width: options.width, styleHeader: (text) => options.style('column', text) });
  };
  return shared(plan, 'Settings of PostgreSQL', textOf);
}

/** What the templates of Services lead to, placeholders filled in. */
export function formatAnnotations(plan: GlobalPlan, { width, style }: PlanTextOptions): Section[] {
  const rows = plan.groups.flatMap((group) =>
    group.services.flatMap((service) =>
      Object.entries(service.annotations).map(([key, value]) => [group.name, service.name, key, value]),
    ),
  );
  const header = ['GROUP', 'SERVICE', 'ANNOTATION', 'VALUE'];
  const text = formatTable(header, rows, { width, styleHeader: (words) => style('column', words) });
  return rows.length === 0 ? [] : [['Annotations of services', text]];
}

export function formatAccess(plan: GlobalPlan): Section[] {
  const indented = (lines: readonly string[]) => lines.map((line) => `  ${line}`).join('\n');
  return [
    ...shared(plan, 'Access rules (pg_hba.conf, first match wins)', (group) => indented(group.hba)),
    ...shared(plan, 'Maps of users (pg_ident.conf)', (group) => indented(group.nodes.length === 0 ? [] : group.ident)),
  ];
}

export function formatCertificates(plan: GlobalPlan, { width }: PlanTextOptions): Section[] {
  const holders = plan.groups.flatMap((group) => [...group.nodes, ...group.proxies]);
  const common = commonNames(plan);
  const text = holders.map(({ name, certificate }) => {
    const names = [...certificate.dnsNames, ...certificate.ipAddresses];
    const own = names.filter((one) => !common.includes(one));
    const rest = names.length > own.length ? ' + the names that every node carries' : '';
    const lines = wrapText(`${[...certificate.uris, ...own].join(' ')}${rest}`, width - 4);
    return `  ${name}\n${lines.map((line) => `    ${line}`).join('\n')}`;
  });
  const shared =
    common.length === 0
      ? []
      : [
          `  every node\n${wrapText(common.join(' '), width - 4)
            .map((line) => `    ${line}`)
            .join('\n')}`,
        ];
  return text.length === 0 ? [] : [['Names in the certificates', [...shared, ...text].join('\n')]];
}

/** Names that all nodes have; with one node there is nothing to share. */
function commonNames(plan: GlobalPlan): readonly string[] {
  const [first, ...others] = plan.groups.flatMap((group) => group.nodes);
  if (first === undefined || others.length === 0) return [];
  return first.certificate.dnsNames.filter((name) => others.every((node) => node.certificate.dnsNames.includes(name)));
}

/** One section for all groups with the same text; none for an empty one. */
function shared(plan: GlobalPlan, title: string, textOf: (group: GroupPlan) => string): Section[] {
  const groupsByText = Map.groupBy(plan.groups, textOf);
  groupsByText.delete('');
  return [...groupsByText].map(([text, groups]) => {
    const isEverybody = groupsByText.size === 1;
    return [isEverybody ? title : `${title}, group ${groups.map((group) => group.name).join(', ')}`, text];
  });
}
