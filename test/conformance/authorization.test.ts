import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { parse } from "yaml";
import { effectiveMtls, jwtRulesFor } from "../../src/authz/authentication.ts";
import type { CompiledPolicy } from "../../src/authz/compiled-policy.ts";
import { decideCall, decideOutboundCall } from "../../src/authz/decide.ts";
import { loadPolicies } from "../../src/authz/load-policies.ts";
import { checkOutboundPath, normalizeForPolicy } from "../../src/authz/normalize-for-policy.ts";
import type { PolicyListener, PolicyMode, PolicyOptions } from "../../src/authz/policy-options.ts";
import type { RequestIdentity } from "../../src/core/call-facts.ts";
import type { Decision } from "../../src/core/decision.ts";
import { CountersignErrors, type Warning } from "../../src/core/errors.ts";
import type { Peer } from "../../src/core/identity.ts";
import { parseSpiffeId, parseTrustDomain, trustDomainOf } from "../../src/core/spiffe-id.ts";
import "../../src/authz/use-cel.ts";

// Runs the cases of authorization/*.yaml; authorization/README.md says how they are written.

interface Case {
  readonly spec: string;
  readonly mode?: PolicyMode;
  readonly options?: {
    readonly default?: "allow" | "deny";
    readonly pathNormalization?: PolicyOptions["pathNormalization"];
    /** Of the workload. */
    readonly namespace?: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly rootNamespace?: string;
    readonly trustDomain?: string | null;
    readonly aliases?: readonly string[];
    readonly listeners?: readonly PolicyListener[];
    readonly tunnelPorts?: readonly number[];
    readonly providers?: Readonly<Record<string, "http" | "grpc">>;
  };
  readonly allow?: readonly unknown[];
  readonly deny?: readonly unknown[];
  readonly documents?: readonly unknown[];
  readonly text?: string;
  /** An ALLOW policy named `many` with that many rules. */
  readonly manyRules?: number;
  /** ALLOW policies beside the others, with that many rules in all: `/other/<number>/*`. */
  readonly otherRules?: number;
  readonly mtls?: readonly ({ readonly port: number } & Expected)[];
  readonly issuers?: readonly string[];
  readonly calls?: readonly Row[];
  readonly errors?: readonly string[] | Readonly<Record<PolicyMode, readonly string[]>>;
  readonly warnings?: readonly string[] | Readonly<Record<PolicyMode, readonly string[]>>;
}

interface Expected {
  readonly expect?: string;
  readonly strict?: string;
  readonly istio?: string;
}

interface Row extends Expected {
  readonly from?: string;
  readonly ip?: string;
  readonly remoteIp?: string;
  /** "": not known; where a forward proxy asks, not known yet. */
  readonly destinationIp?: string;
  readonly port?: number;
  readonly sni?: string;
  readonly tcp?: boolean;
  readonly method?: string;
  readonly host?: string;
  readonly path?: string;
  readonly scheme?: "http" | "https";
  readonly headers?: Readonly<Record<string, string | readonly string[]>>;
  /** Claims of a verified token. */
  readonly token?: Readonly<Record<string, unknown>>;
  /** The client's address as x-forwarded-for tells it. */
  readonly client?: string;
  readonly now?: string;
  /** Outbound: the principal that the server must prove, or several; `forward` when a forward proxy asks. */
  readonly to?: string | readonly string[];
  readonly forward?: boolean;
  /** Part of the reason. */
  readonly reason?: string;
}

const folder = join(import.meta.dirname, "authorization");
const files = readdirSync(folder).filter((file) => /^(?!wire-|sentences|sources).*\.yaml$/.test(file));

function optionsOf({ options = {} }: Case, mode: PolicyMode): PolicyOptions {
  const trustDomain = options.trustDomain === undefined ? "example.org" : options.trustDomain;
  return {
    mode,
    default: options.default ?? (mode === "strict" ? "deny" : "allow"),
    pathNormalization: options.pathNormalization ?? (mode === "strict" ? "MERGE_SLASHES" : "BASE"),
    rootNamespace: options.rootNamespace ?? "istio-system",
    workload: {
      namespace: options.namespace ?? "shop",
      labels: new Map(Object.entries(options.labels ?? { app: "orders" })),
    },
    localTrustDomain: trustDomain === null ? undefined : parseTrustDomain(trustDomain),
    trustDomainAliases: (options.aliases ?? []).map(parseTrustDomain),
    listeners: options.listeners ?? [{ name: "web", appPort: 8080, protocol: "http" }],
    ...(options.tunnelPorts === undefined ? {} : { tunnelPorts: options.tunnelPorts }),
    ...(options.providers === undefined ? {} : { providers: new Map(Object.entries(options.providers)) }),
  };
}

function load(one: Case, mode: PolicyMode): { readonly policy: CompiledPolicy; readonly warnings: readonly Warning[] } {
  const document = (name: string, action: string, rules: readonly unknown[] | undefined) =>
    rules === undefined ? [] : [{ metadata: { name, namespace: "shop" }, spec: { action, rules } }];
  const documents = [
    ...document("deny", "DENY", one.deny),
    ...document("allow", "ALLOW", one.allow),
    ...document("many", "ALLOW", one.manyRules === undefined ? undefined : Array(one.manyRules).fill({})),
    ...Array.from({ length: (one.otherRules ?? 0) / 500 }, (_, number) =>
      document(
        `other-${number}`,
        "ALLOW",
        Array.from({ length: 500 }, (__, i) => ({ to: [{ operation: { paths: [`/other/${number * 500 + i}/*`] } }] })),
      ),
    ).flat(),
    ...(one.documents ?? []).map((some) => some as object),
  ].map((some) => JSON.stringify({ apiVersion: "security.istio.io/v1", kind: "AuthorizationPolicy", ...some }));
  const texts = [
    ...(documents.length > 0 ? [documents.join("\n---\n")] : []),
    ...(one.text === undefined ? [] : [one.text]),
  ];
  return loadPolicies(
    texts.map((text, i) => ({ file: `policy-${i}.yaml`, text })),
    optionsOf(one, mode),
  );
}

function peerOf(from: string): Peer | undefined {
  if (from === "nobody") return undefined;
  const spiffeId = parseSpiffeId(`spiffe://${from}`);
  const times = { notAfterMs: 0, validUntilMs: 0 };
  return { spiffeId, trustDomain: trustDomainOf(spiffeId), serial: "1", issuer: "", fingerprint: "", ...times };
}

/** What becomes of a call, as the rows write it: `allow by allow 0`, `deny`, `400 E_PATH_NUL`, `ask opa by custom 0, then allow by allow 0`,
 *  `allow by allow 0, audit by audit 0`, `deny, dry-run allow by dry 0`. */
function outcomeOf(policy: CompiledPolicy, row: Row): { readonly text: string; readonly reason: string } {
  const sourceIp = row.ip ?? "10.0.0.1";
  const connection = {
    peer: peerOf(row.from ?? "example.org/ns/shop/sa/web"),
    sourceIp,
    remoteIp: row.remoteIp ?? sourceIp,
    destinationIp: row.destinationIp ?? "10.9.0.1",
    addressPending: row.forward === true && row.destinationIp === "",
    destinationPort: row.port ?? 8080,
    sni: row.sni ?? "",
  };
  const isOutbound = row.to !== undefined || row.forward === true;
  const target = row.path ?? "/";
  const question = target.indexOf("?");
  const path = question === -1 ? target : target.slice(0, question);
  const normal = (isOutbound ? checkOutboundPath : normalizeForPolicy)(policy, path, target.slice(path.length));
  if (!normal.ok) return { text: `400 ${normal.code}`, reason: normal.reason };
  const headers = Object.entries(row.headers ?? {}).flatMap(([name, lines]) =>
    [lines].flat().flatMap((line) => [name, line]),
  );
  const request = {
    method: row.method ?? "GET",
    authority: row.host ?? "shop.example",
    path: normal.path,
    target: normal.path + target.slice(path.length),
    headers,
    ...(row.scheme === undefined ? {} : { scheme: row.scheme }),
    ...(row.client === undefined ? {} : { remoteIp: row.client }),
    ...(row.token === undefined ? {} : { identity: identityOf(row.token) }),
  };
  const facts = {
    connection,
    request: row.tcp === true ? undefined : request,
    ...(row.now === undefined ? {} : { nowMs: Date.parse(row.now) }),
    ...(row.to === undefined ? {} : { destinationPrincipals: [row.to].flat() }),
  };
  const fallback = row.forward === true ? "deny" : "allow";
  const decision = isOutbound ? decideOutboundCall(policy, facts, fallback) : decideCall(policy, facts);
  if (decision.kind !== "ask") return textOf(decision);
  const asked = decision.providers.map(({ provider, rule }) => `${provider}${byRule(rule)}`);
  const { text, reason } = textOf(decision.decision);
  return { text: `ask ${asked.join(" and ")}, then ${text}`, reason };
}

function identityOf(claims: Readonly<Record<string, unknown>>): RequestIdentity {
  const text = (name: string) => (typeof claims[name] === "string" ? claims[name] : "");
  const audiences = [claims["aud"] ?? []].flat().map(String);
  return { issuer: text("iss"), subject: text("sub"), audiences, presenter: text("azp"), claims };
}

function textOf(decision: Decision): { readonly text: string; readonly reason: string } {
  const id = decision.kind === "allow" ? decision.permit.rule : decision.rule;
  const { auditRule, dryRun, conditionFaults = [] } = decision.notes ?? {};
  const audit = auditRule === undefined ? "" : `, audit${byRule(auditRule)}`;
  const dry = dryRun === undefined ? "" : `, dry-run ${dryRun.verdict}${byRule(dryRun.rule)}`;
  const faults = conditionFaults.length === 0 ? "" : `, ${conditionFaults.length} fault`;
  return { text: `${decision.kind}${byRule(id)}${audit}${dry}${faults}`, reason: decision.reason };
}

function byRule(id: string | undefined): string {
  if (id === undefined) return "";
  const [, namespace = "", name = "", index = ""] = /^ns\[(.*)\]-policy\[(.*)\]-rule\[(.*)\]$/.exec(id) ?? [];
  return ` by ${namespace === "shop" ? "" : `${namespace}/`}${name} ${index}`;
}

/** `allow` and `deny` alone say nothing about the rule. */
function fits(expected: string, outcome: string): boolean {
  return outcome === expected || (/^(?:allow|deny)$/.test(expected) && outcome.startsWith(expected));
}

function codesFor(codes: Case["errors"], mode: PolicyMode): readonly string[] {
  if (codes === undefined) return [];
  return "strict" in codes ? codes[mode] : codes;
}

for (const file of files) {
  const cases = parse(readFileSync(join(folder, file), "utf8")) as readonly Case[];
  describe(file, () => {
    describe.each(cases)("$spec", (one) => {
      const modes = one.mode === undefined ? (["strict", "istio"] as const) : [one.mode];
      it.each(modes)("%s", (mode) => {
        const errors = codesFor(one.errors, mode);
        if (errors.length > 0) {
          let found: readonly string[] = [];
          try {
            load(one, mode);
          } catch (error) {
            if (!(error instanceof CountersignErrors)) throw error;
            found = error.errors.map(({ code, at }) => `${code} ${at?.line}:${at?.column}`);
          }
          // A code alone says nothing about the place.
          expect(found.map((each, i) => (errors[i]?.includes(" ") ? each : each.split(" ")[0]))).toEqual(errors);
          return;
        }
        const { policy, warnings } = load(one, mode);
        if (one.warnings !== undefined) expect(warnings.map(({ code }) => code)).toEqual(codesFor(one.warnings, mode));
        for (const row of one.mtls ?? []) {
          const listener = policy.options.listeners.find(({ appPort }) => appPort === row.port);
          expect(effectiveMtls(policy, listener ?? { appPort: row.port })).toBe(row.expect ?? row[mode]);
        }
        if (one.issuers !== undefined) expect(jwtRulesFor(policy).map(({ issuer }) => issuer)).toEqual(one.issuers);
        for (const row of one.calls ?? []) {
          const expected = row.expect ?? row[mode];
          if (expected === undefined) throw new Error(`no expectation for ${mode}: ${JSON.stringify(row)}`);
          const { text, reason } = outcomeOf(policy, row);
          expect(fits(expected, text), `${JSON.stringify(row)} was: ${text} (${reason})`).toBe(true);
          expect(reason).toContain(row.reason ?? "");
        }
      });
      it("says what it expects", () => {
        const parts = [one.calls, one.mtls, one.issuers, one.errors, one.warnings];
        expect(parts.some((part) => part !== undefined)).toBe(true);
      });
    });
  });
}
