import type { PolicyDocuments } from "../authz/compile-policies.ts";
import type { PolicyOptions } from "../authz/policy-options.ts";
import { didYouMean } from "../core/did-you-mean.ts";
import type { SourcePosition } from "../core/errors.ts";

/** Policies of a namespace that is neither the workload's nor the root namespace. */
export interface ForeignNamespace {
  readonly message: string;
  /** Of the first of them. */
  readonly at: SourcePosition;
  readonly fix: string;
}

/** Namespaces whose policies apply to no workload that is known here: right in a folder that several share, and where a name is misspelt the only
 *  thing to be seen of a policy that nobody applies. One for each, in the order of the files. */
export function foreignNamespaces(
  { policies, peerAuthentications, requestAuthentications }: PolicyDocuments,
  { workload, rootNamespace }: PolicyOptions,
): readonly ForeignNamespace[] {
  const ours = [workload.namespace, rootNamespace];
  const others = [...policies, ...peerAuthentications, ...requestAuthentications].filter(
    ({ namespace }) => !ours.includes(namespace),
  );
  return [...Map.groupBy(others, ({ namespace }) => namespace)].flatMap(([namespace, [first, ...more]]) => {
    if (first === undefined) return [];
    const rest = more.length === 0 ? "applies" : `and ${more.length} more of its namespace apply`;
    const meant = didYouMean(namespace, ours);
    return [
      {
        message: `${namespace}/${first.name} ${rest} to no workload given here, which is of namespace ${workload.namespace}`,
        at: first.at,
        fix: meant === undefined ? "correct the namespace, if it is for this workload" : `did you mean "${meant}"?`,
      },
    ];
  });
}
