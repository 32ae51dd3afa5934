import type { SourcePosition } from "../core/errors.ts";
import {
  parseSpiffeId,
  parseTrustDomain,
  spiffeIdProblem,
  type TrustDomain,
  trustDomainOf,
} from "../core/spiffe-id.ts";
import type { Invalid } from "./problems.ts";
import type { ExpectedIdentity } from "./sidecar-config.ts";
import { parsed, Refusal } from "./yaml-scalars.ts";
import { type ReadContext, type Shape, subject } from "./yaml-shape.ts";

/** An identity that a server must prove: exact, or `*` as its whole last segment; the trust domain always literal. */
export function expectedIdentity(): Shape<ExpectedIdentity> {
  return parsed("a SPIFFE ID", "spiffe://example.org/ns/shop/sa/payments", (text) => {
    const star = text.endsWith("/*");
    // A star is judged as the segment that it stands for.
    const id = star ? `${text.slice(0, -1)}x` : text;
    const problem = spiffeIdProblem(id);
    if (problem !== undefined && text.includes("*")) {
      return new Refusal(
        "has a * that is not its whole last segment",
        "write spiffe://example.org/ns/shop/sa/* or a whole ID",
      );
    }
    if (problem !== undefined) return new Refusal(problem);
    const parsedId = parseSpiffeId(id);
    const trustDomain = trustDomainOf(parsedId);
    if (id.length === "spiffe://".length + trustDomain.length) {
      return new Refusal("has no path: it names a whole trust domain, which no server proves");
    }
    return star
      ? { pattern: text, trustDomain, exact: undefined, prefix: text.slice(0, -1) }
      : { pattern: text, trustDomain, exact: parsedId, prefix: undefined };
  });
}

export function trustDomain(): Shape<TrustDomain> {
  return parsed("a trust domain", "example.org", (text) => {
    const problem = trustDomainProblem(text);
    return problem === undefined ? parseTrustDomain(text) : new Refusal(problem);
  });
}

/** Reads the key of a mapping that is keyed by trust domain. */
export function trustDomainKey(key: string, at: SourcePosition, context: ReadContext): TrustDomain | Invalid {
  const problem = trustDomainProblem(key);
  if (problem === undefined) return parseTrustDomain(key);
  return context.problems.error("E_CONFIG_VALUE", at, `${subject(context)} key ${JSON.stringify(key)} ${problem}`);
}

function trustDomainProblem(text: string): string | undefined {
  if (text.startsWith("spiffe://")) return "starts with spiffe://, which a trust domain's name does not";
  const problem = text.includes("/") ? "has a slash" : spiffeIdProblem(`spiffe://${text}`);
  return problem?.replace(/^has a trust domain that /, "");
}
