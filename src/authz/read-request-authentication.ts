import type { SourcePosition } from "../core/errors.ts";
import type { JwtRuleModel, RequestAuthenticationModel } from "./authentication-model.ts";
import { checkKeys, checkNotEmpty } from "./check-keys.ts";
import type { DocumentContext } from "./read-document.ts";
import { readSelector, refersElsewhere } from "./read-metadata.ts";
import { asList, asMap, asText, childOf, entryOf, type LocatedText } from "./yaml-access.ts";
import type { YamlMap, YamlValue } from "./yaml-documents.ts";

const RULE_KEYS = [
  "issuer",
  "audiences",
  "jwksUri",
  "jwks_uri",
  "jwks",
  "fromHeaders",
  "fromParams",
  "fromCookies",
  "outputPayloadToHeader",
  "outputClaimToHeaders",
  "spaceDelimitedClaims",
  "forwardOriginalToken",
  "timeout",
];
const DEFAULT_TIMEOUT_MS = 5_000;
const MAX_JWKS_CHARS = 2 ** 20;
/** Claims that are lists parted by spaces without being asked for (Istio's default). */
const SPACE_DELIMITED = ["scope", "permission"];
const TOKEN = /^[A-Za-z0-9!#$%&'*+.^_`|~-]+$/;
/** Headers that say where a request goes, how it is framed or who we say the caller is: no claim may become one. */
const RESERVED_HEADER =
  /^(?:host|connection|content-length|transfer-encoding|te|trailer|upgrade|keep-alive|expect|proxy-.*|authorization|cookie|forwarded|x-forwarded-.*|x-countersign-.*)$/;

/** Reads the spec of a RequestAuthentication (authorization, section 9). */
export function readRequestAuthentication(
  spec: YamlMap | undefined,
  head: { readonly name: string; readonly namespace: string; readonly at: SourcePosition },
  context: DocumentContext,
): RequestAuthenticationModel {
  const { findings } = context;
  if (spec !== undefined) checkKeys(spec, "spec", ["selector", "targetRef", "targetRefs", "jwtRules"], context);
  const elsewhere = refersElsewhere(spec, context);
  const selector = readSelector(spec, context);
  const items = asList(childOf(spec, "jwtRules"), "spec.jwtRules", findings) ?? [];
  const jwtRules = items.map((item, index) => readJwtRule(item, `jwtRules[${index}]`, context));
  return { ...head, selector, elsewhere, jwtRules: jwtRules.filter((rule) => rule !== undefined) };
}

function readJwtRule(value: YamlValue, label: string, context: DocumentContext): JwtRuleModel | undefined {
  const { findings, options } = context;
  const strict = options.mode === "strict";
  const map = asMap(value, label, findings);
  if (map === undefined) return undefined;
  checkKeys(map, label, RULE_KEYS, context);
  // Without audiences there is an error of its own.
  for (const entry of map.entries)
    if (RULE_KEYS.includes(entry.key) && entry.key !== "audiences")
      checkNotEmpty(entry, `${label}.${entry.key}`, context);
  const text = (key: string) => asText(childOf(map, key), `${label}.${key}`, findings);
  const issuer = text("issuer");
  if (issuer === undefined && childOf(map, "issuer") === undefined)
    findings.error("E_POLICY_MISSING", map.at, `${label} has no issuer`, "add `issuer:`, as it stands in `iss`");
  const audiences = texts(map, "audiences", label, context);
  if (strict && audiences.length === 0) {
    const message = `${label} has no audiences, so it would take tokens that were made for somebody else`;
    findings.error("E_POLICY_MISSING", map.at, message, "add `audiences:` with the names of this app");
  }
  const uri = text("jwksUri") ?? text("jwks_uri");
  const jwks = text("jwks");
  if (uri !== undefined && jwks !== undefined)
    findings.error("E_POLICY_COMBINATION", map.at, `${label} has both jwks and jwksUri`, "keep one of the two");
  if (uri !== undefined) checkUri(uri, `${label}.jwksUri`, context);
  if (uri === undefined && jwks === undefined && issuer !== undefined) checkIssuer(issuer, label, context);
  if (jwks !== undefined) checkJwks(jwks, `${label}.jwks`, context);
  const places = readPlaces(map, label, context);
  const claims = texts(map, "spaceDelimitedClaims", label, context);
  return {
    issuer: issuer?.text ?? "",
    audiences: audiences.map(({ text: audience }) => audience),
    jwksUri: uri?.text,
    jwks: jwks?.text,
    ...places,
    outputPayloadToHeader: headerName(text("outputPayloadToHeader"), `${label}.outputPayloadToHeader`, true, context),
    outputClaimToHeaders: readClaimHeaders(map, label, context),
    spaceDelimitedClaims: [...new Set([...SPACE_DELIMITED, ...claims.map(({ text: claim }) => claim)])],
    forwardOriginalToken: readFlag(map, "forwardOriginalToken", label, context),
    timeoutMs: readTimeout(text("timeout"), `${label}.timeout`, context),
    at: map.at,
  };
}

function texts(map: YamlMap, key: string, label: string, { findings }: DocumentContext): readonly LocatedText[] {
  const items = asList(childOf(map, key), `${label}.${key}`, findings) ?? [];
  return items
    .map((item, index) => asText(item, `${label}.${key}[${index}]`, findings))
    .filter((text) => text !== undefined);
}

function urlOf(text: string): URL | undefined {
  return URL.canParse(text) ? new URL(text) : undefined;
}

function checkUri({ text, at }: LocatedText, label: string, { findings, options }: DocumentContext): void {
  const url = urlOf(text);
  if (url === undefined || (url.protocol !== "https:" && url.protocol !== "http:") || url.hash !== "") {
    findings.error("E_POLICY_URL", at, `${label} is no http or https address`, "write https://host/path");
  } else if (url.username !== "" || url.password !== "") {
    findings.error("E_POLICY_URL", at, `${label} has a user name or password in it`, "remove it");
  } else if (options.mode === "strict" && url.protocol !== "https:") {
    const message = `${label} is not https: whoever is on the way could hand out keys`;
    findings.error("E_POLICY_URL", at, message, "write https://, or put the keys into `jwks`");
  }
}

/** Without keys the issuer is asked for them, so it must be an address. */
function checkIssuer(issuer: LocatedText, label: string, context: DocumentContext): void {
  const url = urlOf(issuer.text);
  if (url?.protocol === "https:" || (url?.protocol === "http:" && context.options.mode === "istio")) return;
  const message = `${label} has neither jwks nor jwksUri, and its issuer is no https address to ask for them`;
  context.findings.error("E_POLICY_MISSING", issuer.at, message, "add `jwksUri:` or `jwks:`");
}

function checkJwks({ text, at }: LocatedText, label: string, { findings }: DocumentContext): void {
  if (text.length <= MAX_JWKS_CHARS && isKeySet(text)) return;
  const fix = "write the JWK set as JSON text, like '{\"keys\": [...]}', of 1 MiB at most";
  findings.error("E_POLICY_JWKS", at, `${label} is no JWK set (RFC 7517)`, fix);
}

function isKeySet(text: string): boolean {
  try {
    const set: unknown = JSON.parse(text);
    return typeof set === "object" && set !== null && "keys" in set && Array.isArray(set.keys);
  } catch {
    return false;
  }
}

function readPlaces(
  map: YamlMap,
  label: string,
  context: DocumentContext,
): Pick<JwtRuleModel, "fromHeaders" | "fromParams" | "fromCookies"> {
  const { findings } = context;
  const fromHeaders = (asList(childOf(map, "fromHeaders"), `${label}.fromHeaders`, findings) ?? []).flatMap(
    (item, index) => {
      const place = `${label}.fromHeaders[${index}]`;
      const entry = asMap(item, place, findings);
      if (entry === undefined) return [];
      checkKeys(entry, place, ["name", "prefix"], context);
      const name = headerName(asText(childOf(entry, "name"), `${place}.name`, findings), place, false, context);
      if (childOf(entry, "name") === undefined)
        findings.error("E_POLICY_MISSING", entry.at, `${place} has no name`, "add `name:`");
      const prefix = childOf(entry, "prefix");
      const isNone = prefix?.kind === "text" && prefix.text === "";
      const text = isNone ? undefined : asText(prefix, `${place}.prefix`, findings);
      return name === undefined ? [] : [{ name, prefix: text?.text ?? "" }];
    },
  );
  const fromParams = texts(map, "fromParams", label, context).map(({ text }) => text);
  const fromCookies = texts(map, "fromCookies", label, context).map(({ text }) => text);
  if (fromHeaders.length + fromParams.length + fromCookies.length > 0) return { fromHeaders, fromParams, fromCookies };
  return { fromHeaders: [{ name: "authorization", prefix: "Bearer " }], fromParams: ["access_token"], fromCookies: [] };
}

function headerName(
  value: LocatedText | undefined,
  label: string,
  isOutput: boolean,
  { findings }: DocumentContext,
): string | undefined {
  if (value === undefined) return undefined;
  const name = value.text.toLowerCase();
  if (!TOKEN.test(name)) {
    findings.error("E_POLICY_HEADER", value.at, `${label}: no header can have this name`, "write a name like x-user");
    return undefined;
  }
  if (!isOutput || !RESERVED_HEADER.test(name)) return name;
  const message = `${label}: ${name} says where a request goes or who called, so no claim may become it`;
  findings.error("E_POLICY_HEADER", value.at, message, "write a name like x-jwt-user");
  return undefined;
}

function readClaimHeaders(map: YamlMap, label: string, context: DocumentContext): JwtRuleModel["outputClaimToHeaders"] {
  const { findings } = context;
  const items = asList(childOf(map, "outputClaimToHeaders"), `${label}.outputClaimToHeaders`, findings) ?? [];
  return items.flatMap((item, index) => {
    const place = `${label}.outputClaimToHeaders[${index}]`;
    const entry = asMap(item, place, findings);
    if (entry === undefined) return [];
    checkKeys(entry, place, ["header", "claim"], context);
    for (const key of ["header", "claim"])
      if (childOf(entry, key) === undefined)
        findings.error("E_POLICY_MISSING", entry.at, `${place} has no ${key}`, `add \`${key}:\``);
    const header = headerName(asText(childOf(entry, "header"), `${place}.header`, findings), place, true, context);
    const claim = asText(childOf(entry, "claim"), `${place}.claim`, findings);
    return header === undefined || claim === undefined ? [] : [{ header, claim: claim.text }];
  });
}

function readFlag(map: YamlMap, key: string, label: string, { findings }: DocumentContext): boolean {
  const value = childOf(map, key);
  if (value === undefined) return false;
  if (value.kind === "bare" && /^(?:true|false)$/.test(value.text)) return value.text === "true";
  findings.error(
    "E_POLICY_TYPE",
    entryOf(map, key)?.at ?? map.at,
    `${label}.${key} is no boolean`,
    "write true or false",
  );
  return false;
}

/** A duration of protobuf's JSON form: seconds with `s`, or Go's units. */
function readTimeout(value: LocatedText | undefined, label: string, { findings }: DocumentContext): number {
  if (value === undefined) return DEFAULT_TIMEOUT_MS;
  const [, number, unit] = /^([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)$/.exec(value.text) ?? [];
  const units: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };
  const milliseconds = Number(number) * (units[unit ?? ""] ?? Number.NaN);
  if (milliseconds >= 1 && milliseconds <= 3_600_000) return milliseconds;
  findings.error("E_POLICY_TYPE", value.at, `${label} is no duration from 1ms to 1h`, "write it like 5s or 500ms");
  return DEFAULT_TIMEOUT_MS;
}
