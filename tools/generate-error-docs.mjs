// Writes docs/errors.md from the catalogue of codes. Run it with the project's Node:
// node_modules/.bin/node tools/generate-error-docs.mjs [--check] [FILE]. With --check it writes nothing and exits 1 when
// the page is not up to date; a test does that.
import { readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { auditCodes } from "../src/core/codes/audit-codes.ts";
import { conditionCodes } from "../src/core/codes/condition-codes.ts";
import { configCodes } from "../src/core/codes/config-codes.ts";
import { doctorCodes } from "../src/core/codes/doctor-codes.ts";
import { egressCodes } from "../src/core/codes/egress-codes.ts";
import { federationCodes } from "../src/core/codes/federation-codes.ts";
import { httpCodes } from "../src/core/codes/http-codes.ts";
import { http2Codes } from "../src/core/codes/http2-codes.ts";
import { identityCodes } from "../src/core/codes/identity-codes.ts";
import { issuerCodes } from "../src/core/codes/issuer-codes.ts";
import { jwtSvidCodes } from "../src/core/codes/jwt-svid-codes.ts";
import { operationCodes } from "../src/core/codes/operation-codes.ts";
import { policyCodes } from "../src/core/codes/policy-codes.ts";
import { proxyCodes } from "../src/core/codes/proxy-codes.ts";
import { requestAuthCodes } from "../src/core/codes/request-auth-codes.ts";
import { errorCodes } from "../src/core/error-codes.ts";

const sections = [
  { title: "Configuration", where: "`countersign check`, a start or a reload.", codes: configCodes },
  { title: "Policies and paths", where: "Loading policy files, and decisions on calls.", codes: policyCodes },
  {
    title: "Conditions, tokens and providers in policies",
    where: "Loading policy files, and decisions on calls.",
    codes: conditionCodes,
  },
  { title: "Identity and certificates", where: "Our own SVID, and the verification of peers.", codes: identityCodes },
  {
    title: "JWT-SVIDs",
    where: "JWT-SVIDs that the sidecar attaches to outbound calls and asks of inbound ones.",
    codes: jwtSvidCodes,
  },
  {
    title: "Request authentication and external authorization",
    where: "Tokens of requests, the keys that verify them, and the providers that CUSTOM policies name.",
    codes: requestAuthCodes,
  },
  { title: "Federation", where: "Fetching partners' trust bundles.", codes: federationCodes },
  {
    title: "Connections and upstreams",
    where: "Calls and connections on their way through the sidecar.",
    codes: proxyCodes,
  },
  { title: "Egress proxy", where: "Listeners with `forward`.", codes: egressCodes },
  { title: "HTTP/1.1", where: "Messages that the codec refuses, from callers and from upstreams.", codes: httpCodes },
  { title: "HTTP/2", where: "Messages and connections that the codec refuses.", codes: http2Codes },
  { title: "Audit", where: "The audit log.", codes: auditCodes },
  { title: "Doctor", where: "`countersign doctor`.", codes: doctorCodes },
  { title: "Operation", where: "Start, stop, and the commands that look at a running sidecar.", codes: operationCodes },
  { title: "Issuer", where: "`countersign issuer`.", codes: issuerCodes },
];

const intro = `# Error codes

<!-- Written by tools/generate-error-docs.mjs from src/core/codes/. Change it there. -->

Every refusal has a code that is never renamed and never reused. The same code stands in the audit record (\`reason\`), in
the label \`code\` of \`countersign_calls_total\`, in the log, in \`/readyz\`, and, where a caller got an HTTP answer, in its
header \`x-countersign-code\`. Messages may change; match on codes.
`;

/** The whole page. Throws when a code of the catalogue belongs to no section: the page would lose it silently. */
function page() {
  const parts = [intro];
  const listed = new Set();
  for (const { title, where, codes } of sections) {
    parts.push(`\n## ${title}\n${where}\n\n| code | this happens when | what to do |\n|---|---|---|\n`);
    for (const [code, { meaning, fix }] of Object.entries(codes)) {
      listed.add(code);
      parts.push(`| \`${code}\` | ${cell(meaning)} | ${cell(fix)} |\n`);
    }
  }
  const missing = Object.keys(errorCodes).filter((code) => !listed.has(code));
  if (missing.length > 0) throw new Error(`add to a section: ${missing.join(", ")}`);
  return parts.join("");
}

function cell(text) {
  return text.replaceAll("|", "\\|");
}

const args = process.argv.slice(2);
const check = args[0] === "--check";
const [named] = check ? args.slice(1) : args;
const file = named === undefined ? join(import.meta.dirname, "..", "docs", "errors.md") : resolve(named);
const text = page();
if (!check) writeFileSync(file, text);
else if (readFileSync(file, "utf8") !== text) {
  console.error(`${file} is not up to date; run node_modules/.bin/node tools/generate-error-docs.mjs`);
  process.exitCode = 1;
}
