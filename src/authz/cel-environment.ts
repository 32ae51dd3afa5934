import type { Environment } from "@marcbachmann/cel-js";
import type { RE2JS } from "re2js";
import { celLibraries } from "./cel-libraries.ts";
import type { PolicyModel } from "./policy-model.ts";

/** What a program may cost: its instructions times the characters of the text. RE2 runs in linear time, so this bounds it. */
const MAX_REGEX_STEPS = 200_000;
const MAX_PROGRAM = 400;
const MAX_PATTERNS = 10_000;

/** Thrown while an expression runs when it would cost more than it may. Its message is shown in records. */
export class CostExceeded extends Error {
  override readonly name = "CostExceeded";
}

const programs = new Map<string, RE2JS>();

/** Compiles a pattern of RE2 syntax. Throws an Error that says what is wrong, also for one that is too large. */
export function compileRegex(pattern: string): RE2JS {
  const known = programs.get(pattern);
  if (known !== undefined) return known;
  const program = celLibraries().RE2JS.compile(pattern);
  if (program.programSize() > MAX_PROGRAM) throw new Error(`the pattern compiles to more than ${MAX_PROGRAM} steps`);
  // Patterns are literals of policies; only reloading ever new ones for long can fill this.
  if (programs.size >= MAX_PATTERNS) programs.clear();
  programs.set(pattern, program);
  return program;
}

/** The name under which `matches` runs: the library's own uses backtracking regular expressions. */
export const REGEX_FUNCTION = "countersignMatches";

/** What an expression may ask. Times are timestamps. */
const svid = { serial: "string", issuer: "string", fingerprint: "string", expires: "google.protobuf.Timestamp" };
const source = {
  authenticated: "bool",
  spiffeId: "string",
  principal: "string",
  trustDomain: "string",
  path: "string",
  namespace: "string",
  serviceAccount: "string",
  ip: "string",
  remoteIp: "string",
  svid,
};
const auth = {
  authenticated: "bool",
  issuer: "string",
  subject: "string",
  audiences: "list<string>",
  presenter: "string",
  claims: "map<string, dyn>",
};
const request = { method: "string", host: "string", path: "string", headers: "map<string, string>" };
const connection = { sni: "string", destinationIp: "string", destinationPort: "int" };

type Direction = PolicyModel["direction"];

const environments: Partial<Record<Direction, Environment>> = {};

/** What policies of a direction may ask: the caller and its end user inbound, the server outbound. Made when the first expression is compiled. */
export function celEnvironment(direction: Direction): Environment {
  const known = environments[direction];
  if (known !== undefined) return known;
  const made = makeEnvironment(direction);
  environments[direction] = made;
  return made;
}

function makeEnvironment(direction: Direction): Environment {
  const common = new (celLibraries().Environment)({
    limits: { maxAstNodes: 500, maxDepth: 40, maxListElements: 100, maxMapEntries: 100, maxCallArguments: 8 },
  });
  const sides =
    direction === "OUTBOUND"
      ? common
          .registerVariable({ name: "destination", schema: { principal: "string" } })
          .registerVariable({ name: "request", schema: request })
      : common
          .registerVariable({ name: "source", schema: source })
          .registerVariable({ name: "request", schema: { ...request, auth } });
  return sides
    .registerVariable({ name: "connection", schema: connection })
    .registerVariable({ name: "workload", schema: { namespace: "string", labels: "map<string, string>" } })
    .registerVariable("time", "google.protobuf.Timestamp")
    .registerFunction(`string.${REGEX_FUNCTION}(string): bool`, (text: string, pattern: string) => {
      const program = compileRegex(pattern);
      if (program.programSize() * text.length > MAX_REGEX_STEPS)
        throw new CostExceeded("matches on a text that is too long");
      return program.matcher(text).find();
    });
}
