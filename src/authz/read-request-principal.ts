import type { RequestPrincipalPattern } from "./policy-model.ts";
import type { ReadContext } from "./read-fields.ts";
import { parseTextPattern, type TextPattern } from "./text-pattern.ts";
import { asText, childOf, refuseUnknownKeys } from "./yaml-access.ts";
import type { YamlMap, YamlValue } from "./yaml-documents.ts";

const ANY: TextPattern = { form: "any" };
const exact = (text: string): TextPattern => ({ form: "exact", text });

/** Reads a value of requestPrincipals, a text or, under countersign.dev/v1, `{ issuer, subject }`. `text` shows it to people. */
export function readRequestPrincipal(
  value: YamlValue,
  label: string,
  context: ReadContext,
): { readonly text: string; readonly pattern: RequestPrincipalPattern } | undefined {
  const { findings } = context;
  if (value.kind === "map" && context.ours) return readPair(value, label, context);
  const written = asText(value, label, findings);
  if (written === undefined) return undefined;
  const { text, at } = written;
  const pattern = parseRequestPrincipal(text);
  if (pattern.subject.form === "exact" && pattern.subject.text === "") {
    const fix = "write <issuer>/<subject>, or <issuer>/* for everybody of an issuer";
    findings.neverMatches("E_POLICY_PRINCIPAL", at, `${label}: ${JSON.stringify(text)} names no subject`, fix);
  }
  const rest = [pattern.issuer, pattern.subject].some((part) => part.form !== "any" && part.text.includes("*"));
  if (rest) {
    const message = `${label}: ${JSON.stringify(text)} has a star that is literal text`;
    findings.neverMatches("E_POLICY_STAR", at, message, "use one star, at the start or at the end");
  }
  return { text, pattern };
}

/** Section 4: the issuer may be a URL, so the last slash parts it from the subject. */
export function parseRequestPrincipal(value: string): RequestPrincipalPattern {
  const slash = value.lastIndexOf("/");
  const issuer = slash === -1 ? value : value.slice(0, slash);
  const subject = slash === -1 ? "" : value.slice(slash + 1);
  if (value === "*") return { issuer: ANY, subject: ANY };
  if (value.startsWith("*")) {
    if (slash === -1) return { issuer: ANY, subject: { form: "suffix", text: value.slice(1) } };
    return { issuer: issuer === "*" ? ANY : { form: "suffix", text: issuer.slice(1) }, subject: exact(subject) };
  }
  if (value.endsWith("*")) {
    if (slash === -1) return { issuer: { form: "prefix", text: issuer.slice(0, -1) }, subject: ANY };
    const prefix: TextPattern = { form: "prefix", text: subject.slice(0, -1) };
    return { issuer: exact(issuer), subject: subject === "*" ? ANY : prefix };
  }
  return { issuer: exact(issuer), subject: exact(subject) };
}

function readPair(map: YamlMap, label: string, { findings }: ReadContext) {
  refuseUnknownKeys(map, label, ["issuer", "subject"], findings);
  const part = (key: string): string | undefined => {
    const text = asText(childOf(map, key), `${label}.${key}`, findings);
    if (childOf(map, key) === undefined)
      findings.error("E_POLICY_MISSING", map.at, `${label} has no ${key}`, `add \`${key}:\`, or "*" for any`);
    return text?.text;
  };
  const issuer = part("issuer");
  const subject = part("subject");
  if (issuer === undefined || subject === undefined) return undefined;
  const pattern = { issuer: parseTextPattern(issuer), subject: parseTextPattern(subject) };
  return { text: `{issuer: ${issuer}, subject: ${subject}}`, pattern };
}
