import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { byteText } from "../../../src/authz/byte-text.ts";
import { decideCall } from "../../../src/authz/decide.ts";
import { loadPackedPolicies, openPackedPolicy } from "../../../src/authz/load-policies.ts";
import type { CallFacts } from "../../../src/core/call-facts.ts";
import { parseSpiffeId, trustDomainOf } from "../../../src/core/spiffe-id.ts";
import { decideLinear } from "./decide-linear.ts";
import { optionsOf, textOf } from "./generate-policies.ts";

// What generate-policies.ts leaves out: hundreds of rules that differ in one text, hundreds of values in a field, long texts, texts of any script,
// and what stands for something in an index.

/** As of generated-calls.test.ts: AUTHZ_PAIRS asks for more. */
const RUNS = Math.ceil(Number(process.env["AUTHZ_PAIRS"] ?? 6_000) / 300);

const numbers = fc.nat(700);
const long = "x".repeat(500);
/** Texts that share beginnings and ends with many others, each made of a number. */
const families: readonly ((n: number) => string)[] = [
  (n) => `k${n}`,
  (n) => `王${String.fromCharCode(0x4e00 + n)}`,
  (n) => `${String.fromCharCode(0xac00 + n)}a`,
  (n) => `${long}${n}`,
  (n) => `${n}${long}`,
  (n) => `é-${n % 7}`,
  (n) => String.fromCodePoint(0x1f600 + (n % 60)),
];
const text = fc.tuple(fc.constantFrom(...families), numbers).map(([make, n]) => make(n));
const starred = fc.tuple(text, fc.constantFrom("", "", "", "end", "start")).map(([one, star]) => {
  if (star === "") return one;
  return star === "end" ? `${one}*` : `*${one}`;
});
const principal = numbers.map((n) => `example.org/ns/n${n % 9}/sa/a${n}`);
const path = numbers.map((n) => `/v${n}/a`);
const template = numbers.map((n) => [`/v${n}/{*}`, `/{*}/a/{**}/${n}`, `/v${n}/*`, `/{**}/${n}`][n % 4] ?? "/");
const address = numbers.map((n) => `10.${n % 3}.0.${n % 200}`);

/** Where a rule says it, and of which values. */
const places: readonly (readonly [(values: readonly string[], not: boolean) => object, fc.Arbitrary<string>])[] = [
  [(values, not) => ({ from: [{ source: { [not ? "notPrincipals" : "principals"]: values } }] }), principal],
  [(values, not) => ({ from: [{ source: { [not ? "notIpBlocks" : "ipBlocks"]: values } }] }), address],
  [(values, not) => ({ to: [{ operation: { [not ? "notPaths" : "paths"]: values } }] }), fc.oneof(path, template)],
  ...["request.headers[x-a]", "request.auth.claims[g]", "request.auth.claims[o][t]", "request.auth.audiences"].map(
    (key) =>
      [
        (values: readonly string[], not: boolean) => ({ when: [{ key, [not ? "notValues" : "values"]: values }] }),
        starred,
      ] as const,
  ),
];

const rules = fc
  .tuple(fc.constantFrom(...places), fc.constantFrom(...places), fc.boolean(), fc.boolean())
  .chain(([[write, value], [also, other], isBoth, not]) => {
    const values = (of: fc.Arbitrary<string>) =>
      fc.oneof(
        { weight: 12, arbitrary: fc.array(of, { minLength: 1, maxLength: 2 }) },
        fc.array(of, { minLength: 300, maxLength: 300 }),
      );
    const rule = fc
      .tuple(values(value), values(other))
      .map(([some, more]) => ({ ...(isBoth ? also(more, false) : {}), ...write(some, not) }));
    return fc.oneof(fc.array(rule, { minLength: 1, maxLength: 3 }), fc.array(rule, { minLength: 30, maxLength: 50 }));
  });
const documents = fc.array(
  fc.record({
    apiVersion: fc.constant("security.istio.io/v1"),
    namespace: fc.constantFrom("shop", "istio-system"),
    dryRun: fc.boolean(),
    spec: fc.record({ action: fc.constantFrom("ALLOW", "DENY"), rules }),
  }),
  { minLength: 1, maxLength: 3 },
);

const call: fc.Arbitrary<CallFacts> = fc
  .record({
    id: fc.option(principal),
    ip: address,
    where: path,
    lines: fc.array(text, { maxLength: 2 }),
    texts: fc.array(text),
  })
  .chain(({ id, ip, where, lines, texts }) => {
    const spiffeId = id === null ? undefined : parseSpiffeId(`spiffe://${id}`);
    const times = { notAfterMs: 0, validUntilMs: 0 };
    const peer = spiffeId && {
      spiffeId,
      trustDomain: trustDomainOf(spiffeId),
      serial: "",
      issuer: "",
      fingerprint: "",
      ...times,
    };
    const connection = { peer, sourceIp: ip, remoteIp: ip, destinationIp: "", destinationPort: 8080, sni: "" };
    const headers = lines.flatMap((line) => ["x-a", byteText(line)]);
    const claims = { g: texts, o: { t: texts[0] ?? 7 } };
    const identity = { issuer: "i", subject: "s", audiences: texts, presenter: "", claims };
    const request = { method: "GET", authority: "a", path: where, headers, identity };
    return fc.constantFrom({ connection, request }, { connection, request }, { connection, request: undefined });
  });

describe.each(["strict", "istio"] as const)("sets of odd shapes in %s mode", (mode) => {
  it("decide as a plain evaluation of every rule does, and say why", { timeout: 3_600_000 }, () => {
    fc.assert(
      fc.property(documents, fc.array(call, { minLength: 5, maxLength: 5 }), (some, calls) => {
        const files = [{ file: "p.yaml", text: textOf(some) }];
        const policy = openPackedPolicy(structuredClone(loadPackedPolicies(files, optionsOf(mode, "deny")).packed));
        for (const facts of calls) {
          const decision = decideCall(policy, facts);
          if (decision.kind === "ask") throw new TypeError("nobody is to be asked");
          const { kind, rule, dryRun } = decideLinear(policy, facts);
          const { notes } = decision;
          const decided = decision.kind === "allow" ? decision.permit.rule : decision.rule;
          expect([decision.kind, decided, notes?.dryRun && [notes.dryRun.verdict, notes.dryRun.rule]]).toEqual([
            kind,
            rule,
            dryRun,
          ]);
          expect(JSON.stringify(decision)).toContain(kind);
        }
      }),
      { numRuns: RUNS },
    );
  });
});
