import type { Problems } from "../../config/problems.ts";
import { placeOf } from "../../config/yaml-shape.ts";
import type { YamlNode } from "../../config/yaml-tree.ts";
import { pathOf, trustDomainOf } from "../../core/spiffe-id.ts";
import { checkEntries, type EntryRules } from "./check-entries.ts";
import { isOnlyLocal } from "./http-shape.ts";
import type { IssuerConfig } from "./issuer-config.ts";

/** Reports what several keys of issuer.yaml together make wrong. `node` is the whole file. */
export function checkIssuerConfig(config: Omit<IssuerConfig, "file">, node: YamlNode, problems: Problems): void {
  const { svidTtlMs, jwtTtlMs, svidRotationMs, http, trustDomain } = config;
  const wrong = (key: string, message: string, fix: string): void =>
    void problems.error("E_CONFIG_VALUE", placeOf(node, key), message, fix);
  const rules = entryRules(config);
  for (const [key, ttl] of [["svidTtl", svidTtlMs] as const, ["jwtTtl", jwtTtlMs] as const])
    if (ttl > rules.maxTtlMs) wrong(key, `${key} is longer than a sixth of caTtl`, "lower it, or raise caTtl");
  if (svidRotationMs !== undefined && svidRotationMs >= svidTtlMs) {
    const message = "svidRotation is not shorter than svidTtl: SVIDs would expire before the next one comes";
    wrong("svidRotation", message, "lower it, or raise svidTtl");
  }
  if (config.adminPath === config.socketPath)
    wrong("admin", "admin is the Workload API's socket, which every local user may open", "give it a path of its own");
  if (config.federatesWith.some((partner) => partner.trustDomain === trustDomain))
    wrong("federatesWith", `federatesWith has ${trustDomain}, which is the issuer's own`, "remove it");
  const endpointId = http?.bundleEndpoint?.id;
  if (endpointId !== undefined && (trustDomainOf(endpointId) !== trustDomain || pathOf(endpointId) === "")) {
    const message = `http.bundleEndpoint.id is not the ID of a workload of ${trustDomain}`;
    wrong("http", message, `write spiffe://${trustDomain}/issuer`);
  }
  if (http?.listen !== undefined && http.tls === undefined && !isOnlyLocal(http.listen)) {
    const message = "http.listen is plain HTTP beyond this machine: others could change the keys on their way";
    const fix = "give http.tls, or listen on 127.0.0.1 behind something that ends TLS";
    problems.warn("W_ISSUER_HTTP_PLAIN", placeOf(node, "http"), message, fix);
  }
  checkEntries(config.entries, rules, node, problems);
}

/** What entries are held against, those of the file and those added later. */
export function entryRules(config: Omit<IssuerConfig, "file">): EntryRules {
  return {
    trustDomain: config.trustDomain,
    development: config.development,
    // A CA signs until 5/6 of its life: only then does it outlive what it signed.
    maxTtlMs: config.caTtlMs / 6,
    svidRotationMs: config.svidRotationMs,
    federatesWith: new Set(config.federatesWith.map((partner) => partner.trustDomain)),
    endpointId: config.http?.bundleEndpoint?.id,
  };
}
