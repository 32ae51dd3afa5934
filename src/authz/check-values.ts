import { parseCidr } from "../core/ip-address.ts";
import { spiffeIdProblem } from "../core/spiffe-id.ts";
import type { Findings } from "./findings.ts";
import { deadHostValue, deadServerName } from "./host-value.ts";
import { isPathTemplate, pathTemplateProblem } from "./path-template.ts";
import { comparedPathValue, deadPathValue } from "./path-value.ts";
import type { FieldKind } from "./policy-model.ts";
import type { PolicyOptions } from "./policy-options.ts";
import { hasLiteralStar, parseTextPattern } from "./text-pattern.ts";
import type { LocatedText } from "./yaml-access.ts";

const STANDARD_METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
const ID_CHARS = /^[A-Za-z0-9._/*-]*$/;

interface ValueCheck {
  readonly value: LocatedText;
  readonly label: string;
  readonly options: PolicyOptions;
  readonly findings: Findings;
}

/** Checks one value of a field of the given kind and reports what is wrong with it. Returns the value as the model keeps it, or
 *  undefined when it cannot be compiled. */
export function checkValue(
  kind: Exclude<FieldKind, "requestPrincipal">,
  { policyNamespace, ours }: { readonly policyNamespace: string; readonly ours: boolean },
  check: ValueCheck,
): string | undefined {
  const { text } = check.value;
  switch (kind) {
    case "principal":
    case "destinationPrincipal":
      if (ours && isPathTemplate(text)) return checkPrincipalTemplate(check);
      checkPrincipal(check);
      return text;
    case "trustDomain":
      checkTrustDomain(check);
      return text;
    case "namespace":
      if (!ID_CHARS.test(text)) never(check, "E_POLICY_IDENTITY", "has a character that no SPIFFE ID may have");
      return text;
    case "serviceAccount":
      return checkServiceAccount(check, policyNamespace);
    case "sourceIp":
    case "remoteIp":
    case "destinationIp":
      if (parseCidr(text) !== undefined) return text;
      return refuse(
        check,
        "E_POLICY_CIDR",
        "is no IP address and no block",
        "write 10.1.2.3, 10.1.0.0/16 or 2001:db8::/32",
      );
    case "port":
      if (/^[1-9][0-9]{0,4}$/.test(text) && Number(text) <= 65_535) return text;
      return refuse(check, "E_POLICY_PORT", "is no port", 'write a number from 1 to 65535 as text, like "8080"');
    case "host":
      checkStar(check);
      warnDead(check, deadHostValue(text));
      return text;
    case "method":
      checkMethod(check);
      return text;
    case "path":
      return checkPath(check);
    case "sni":
      checkStar(check);
      if (deadServerName(text) !== undefined) warnDead(check, deadServerName(text));
      else if (check.options.mode === "istio" && /[A-Z]/.test(text))
        warnNever(
          check,
          "has a capital, and server names are in lower case",
          `write ${JSON.stringify(text.toLowerCase())}`,
        );
      return text;
    case "header":
    case "audience":
    case "presenter":
    case "claim":
      checkStar(check);
      return text;
  }
}

function subject({ label, value }: ValueCheck): string {
  return `${label}: ${JSON.stringify(value.text.slice(0, 200))}`;
}

function refuse(check: ValueCheck, code: Parameters<Findings["error"]>[0], problem: string, fix: string): undefined {
  check.findings.error(code, check.value.at, `${subject(check)} ${problem}`, fix);
}

function never(check: ValueCheck, code: Parameters<Findings["error"]>[0], problem: string, fix = "correct it"): void {
  check.findings.neverMatches(code, check.value.at, `${subject(check)} ${problem}`, fix);
}

function warnNever(check: ValueCheck, problem: string, fix: string): void {
  const message = `${subject(check)} ${problem}, so it can never match`;
  check.findings.warn("W_POLICY_NEVER_MATCHES", check.value.at, message, fix);
}

function warnDead(check: ValueCheck, dead: { readonly problem: string; readonly fix: string } | undefined): void {
  if (dead !== undefined) warnNever(check, dead.problem, dead.fix);
}

function checkStar(check: ValueCheck): boolean {
  if (!hasLiteralStar(check.value.text)) return true;
  // In istio mode it stays literal text, which Istio takes as well.
  const problem = "has a star that is literal text: only one star, at the start or at the end, is special";
  never(check, "E_POLICY_STAR", problem, "use one star at one end");
  return false;
}

function checkPrincipal(check: ValueCheck): void {
  const { text } = check.value;
  if (text.startsWith("spiffe://")) {
    const fix = `write ${JSON.stringify(text.slice("spiffe://".length))}`;
    never(check, "E_POLICY_PRINCIPAL", "starts with spiffe://, which a principal does not have", fix);
  } else if (checkStar(check)) {
    const pattern = parseTextPattern(text);
    if (pattern.form === "exact") {
      const problem = text.includes("/") ? spiffeIdProblem(`spiffe://${text}`) : "has no path";
      if (problem !== undefined)
        never(check, "E_POLICY_PRINCIPAL", problem, "write trust-domain/path, like example.org/ns/shop/sa/web");
    } else if (!ID_CHARS.test(text)) {
      never(check, "E_POLICY_PRINCIPAL", "has a character that no SPIFFE ID may have");
    }
  }
}

/** countersign.dev/v1: `<trust domain>/<path template>`. */
function checkPrincipalTemplate(check: ValueCheck): string | undefined {
  const { text } = check.value;
  const slash = text.indexOf("/");
  const fix = "write the trust domain and a template of its path, like example.org/team/{*}/service/{**}";
  const problem =
    slash === -1 || spiffeIdProblem(`spiffe://${text.slice(0, slash)}`) !== undefined
      ? "is a template whose trust domain is no literal name"
      : pathTemplateProblem(text.slice(slash));
  if (problem !== undefined) return refuse(check, "E_POLICY_TEMPLATE", problem, fix);
  if (!/^[A-Za-z0-9._/{}*-]*$/.test(text))
    never(check, "E_POLICY_IDENTITY", "has a character that no SPIFFE ID may have");
  return text;
}

function checkTrustDomain(check: ValueCheck): void {
  if (!checkStar(check)) return;
  if (!/^[a-z0-9._*-]+$/.test(check.value.text))
    never(check, "E_POLICY_IDENTITY", "is no trust domain", "write its name alone, in lower case, like example.org");
}

function checkServiceAccount(check: ValueCheck, policyNamespace: string): string | undefined {
  const { text } = check.value;
  const fix = "write <namespace>/<service account>, or the service account alone for the policy's own namespace";
  if (text.includes("*")) return refuse(check, "E_POLICY_STAR", "has a star, which service accounts do not know", fix);
  if (!/^(?:[A-Za-z0-9._-]+\/)?[A-Za-z0-9._-]+$/.test(text))
    return refuse(check, "E_POLICY_IDENTITY", "is no service account", fix);
  return text.includes("/") ? text : `${policyNamespace}/${text}`;
}

function checkMethod(check: ValueCheck): void {
  const { text } = check.value;
  if (!checkStar(check)) return;
  if (!/^[A-Za-z0-9!#$%&'*+.^_`|~-]+$/.test(text)) {
    warnNever(check, "has a character that no method may have", "write a method like GET");
  } else if (!STANDARD_METHODS.includes(text) && STANDARD_METHODS.includes(text.toUpperCase())) {
    warnNever(check, "is not the method, whose case counts", `write "${text.toUpperCase()}"`);
  }
}

function checkPath(check: ValueCheck): string | undefined {
  const { value } = check;
  const problem = pathTemplateProblem(value.text);
  if (problem !== undefined)
    return refuse(
      check,
      "E_POLICY_TEMPLATE",
      problem,
      "use {*} for one segment and {**} for the rest, as in /shop/{*}/items/{**}",
    );
  if (!isPathTemplate(value.text)) checkStar(check);
  warnDead(check, deadPathValue(value.text, check.options));
  return comparedPathValue(value.text, check.options);
}
