/** What load balancers were given: the names and addresses of Services outside. */
import * as z from 'zod';
import type { KubeObject } from './kube-object.ts';

export interface PublishedAddress {
  /** Name of the Service. */
  readonly service: string;
  /** Addresses and host names, at least one, in their order. */
  readonly hosts: readonly string[];
}

const serviceSchema = z.looseObject({
  metadata: z.looseObject({ name: z.string() }),
  status: z
    .looseObject({
      loadBalancer: z
        .looseObject({
          ingress: z.array(z.looseObject({ ip: z.string().optional(), hostname: z.string().optional() })).nullish(),
        })
        .nullish(),
    })
    .nullish(),
});

/** Services that have none yet are left out. */
export function balancerAddresses(services: readonly KubeObject[]): PublishedAddress[] {
  return services.flatMap((object) => {
    const { metadata, status } = serviceSchema.parse(object);
    const hosts = (status?.loadBalancer?.ingress ?? []).flatMap(({ ip, hostname }) => ip ?? hostname ?? []);
    return hosts.length === 0 ? [] : [{ service: metadata.name, hosts }];
  });
}
