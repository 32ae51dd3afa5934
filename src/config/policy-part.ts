import { dirname, resolve } from "node:path";
import type { Environment } from "./environment.ts";
import { collectProblems, type Invalid, invalid } from "./problems.ts";
import type { SidecarConfig } from "./sidecar-config.ts";
import { absentWorkload, policySources, sidecarFields } from "./sidecar-shape.ts";
import type { Field } from "./yaml-collections.ts";
import { inside, type ReadContext } from "./yaml-shape.ts";
import { parseYamlTree } from "./yaml-tree.ts";

/** What the meaning of policies depends on. */
export type PolicyPart = Pick<
  SidecarConfig,
  "workload" | "trustDomainAliases" | "inbound" | "policies" | "policyUrls" | "authorization"
> &
  // absent: they could not be read
  Partial<Pick<SidecarConfig, "extensionProviders" | "forward">>;

/** The policy part of a file that has errors elsewhere, so that a person sees those of the policies in the same run.
 *  Undefined when the errors are in what decides which policies there are and how they are read. Reports nothing. */
export function policyPartOfBroken(text: string, file: string, environment: Environment): PolicyPart | undefined {
  const problems = collectProblems();
  const root = parseYamlTree(text, file, environment, problems);
  if (root?.kind !== "map") return undefined;
  const context: ReadContext = { path: "", folder: dirname(resolve(file)), environment, problems };
  const read = <T>(key: keyof typeof sidecarFields, field: Field<T>): T | Invalid => {
    const node = root.entries.find((entry) => entry.key === key)?.value;
    return field.read(node, root.at, inside(context, key));
  };
  const policies = read("policies", sidecarFields.policies);
  const authorization = read("authorization", sidecarFields.authorization);
  if (policies === invalid || authorization === invalid) return undefined;
  const workload = read("workload", sidecarFields.workload);
  const trustDomainAliases = read("trustDomainAliases", sidecarFields.trustDomainAliases);
  const inbound = read("inbound", sidecarFields.inbound);
  const extensionProviders = read("extensionProviders", sidecarFields.extensionProviders);
  const outbound = read("outbound", sidecarFields.outbound);
  return {
    ...policySources(policies),
    authorization,
    workload: workload === invalid || workload === undefined ? absentWorkload : workload,
    trustDomainAliases: trustDomainAliases === invalid ? [] : trustDomainAliases,
    inbound: inbound === invalid ? [] : inbound,
    ...(extensionProviders === invalid ? {} : { extensionProviders }),
    ...(outbound === invalid ? {} : { forward: outbound.filter((one) => "forward" in one) }),
  };
}
