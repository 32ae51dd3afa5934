import { isIP } from "node:net";
import { dirname, resolve } from "node:path";
import { CountersignError, CountersignErrors, type SourcePosition } from "../core/errors.ts";
import { parseSpiffeId, type SpiffeId, spiffeIdProblem, type TrustDomain } from "../core/spiffe-id.ts";
import type { Environment } from "./environment.ts";
import { readTextFile } from "./read-text-file.ts";
import { trustDomain } from "./spiffe-shapes.ts";
import { list, mapOf, object, oneOrList, optional, required } from "./yaml-collections.ts";
import { choice, integer, parsed, path, Refusal, text } from "./yaml-scalars.ts";
import { type JsonSchema, readYaml, refine, type Shape } from "./yaml-shape.ts";
import type { YamlNode } from "./yaml-tree.ts";

/** One row of a table of tests: a call, and what is to become of it. */
export interface PolicyTestRow {
  readonly at: SourcePosition;
  readonly name: string | undefined;
  /** undefined: the file's default; "nobody": a caller without identity. */
  readonly from: SpiffeId | "nobody" | undefined;
  readonly ip: string | undefined;
  readonly remoteIp: string | undefined;
  /** Outbound: the principal that answers; makes the call an outbound one. */
  readonly to: SpiffeId | undefined;
  readonly destinationIp: string | undefined;
  readonly port: number | undefined;
  readonly sni: string | undefined;
  readonly protocol: "http" | "tcp" | undefined;
  readonly method: string | undefined;
  readonly host: string | undefined;
  /** With its query. */
  readonly path: string | undefined;
  readonly headers: ReadonlyMap<string, readonly string[]> | undefined;
  readonly claims: Readonly<Record<string, unknown>> | undefined;
  readonly time: string | undefined;
  readonly expect: "allow" | "deny";
  /** Of the rule that decides: its id, or `policy/index` within the workload's namespace, or "none". */
  readonly rule: string | undefined;
  readonly reason: string | undefined;
}

export interface PolicyTestFile {
  readonly file: string;
  /** Absolute path of the countersign.yaml that the table is about. */
  readonly config: string | undefined;
  readonly trustDomain: TrustDomain | undefined;
  /** What rows say that say nothing themselves. */
  readonly defaults: Partial<PolicyTestRow>;
  readonly tests: readonly PolicyTestRow[];
}

const MAX_FILE_BYTES = 1024 * 1024;

const principal: Shape<SpiffeId> = parsed("a principal", "example.org/ns/shop/sa/web", (value) => {
  const id = value.startsWith("spiffe://") ? value : `spiffe://${value}`;
  const problem = spiffeIdProblem(id);
  return problem === undefined ? parseSpiffeId(id) : new Refusal(problem);
});

const caller: Shape<SpiffeId | "nobody"> = {
  schema: { type: "string" },
  read: (node, context) =>
    node.kind === "text" && node.value === "nobody" ? ("nobody" as const) : principal.read(node, context),
};

const address = parsed("an IP address", "10.0.0.7", (value) =>
  isIP(value) === 0 || value.includes("%") ? new Refusal("is no IP address") : value,
);

const headers = mapOf((key) => key.toLowerCase(), oneOrList(text({ max: 65_536, empty: true })), { max: 256 });

const rowFields = {
  name: optional(text({ max: 300 }), "What the row is about."),
  from: optional(caller, "The caller's SPIFFE ID, with or without scheme, or nobody."),
  ip: optional(address, "The TCP peer's address."),
  remoteIp: optional(address, "The client behind trusted proxies."),
  to: optional(principal, "Makes it an outbound call: who answers."),
  destinationIp: optional(address, "The address that the caller connected to."),
  port: optional(integer({ min: 0, max: 65_535 }), "The app's port. Default: the only one."),
  sni: optional(text({ max: 255, empty: true }), "The server name of the handshake."),
  protocol: optional(choice(["http", "tcp"]), "Default http."),
  method: optional(text({ max: 256 }), "Default GET."),
  host: optional(text({ max: 1024, empty: true }), "Host or :authority."),
  path: optional(text({ max: 65_536 }), "Path and query. Default /."),
  headers: optional(headers, "Header fields; a list of values stands for several lines."),
  claims: optional(anyMapping(), "The claims of a verified token."),
  time: optional(text({ max: 64 }), "When, like 2030-01-01T12:00:00Z. Default: now."),
};

const row: Shape<PolicyTestRow> = refine(
  object({
    ...rowFields,
    expect: required(choice(["allow", "deny"]), "The verdict."),
    rule: optional(
      text({ max: 700 }),
      "The rule that decides: its id, policy/index in the workload's namespace, or none.",
    ),
    reason: optional(text({ max: 128 }), "The code of a denial, or rule, default, no-policy."),
  }),
  (value, node) => ({ at: node.at, ...value }),
);

const file = object({
  config: optional(path(), "The countersign.yaml that the table is about."),
  trustDomain: optional(trustDomain(), "Our own trust domain, where no SVID says it."),
  defaults: optional(object(rowFields), "What rows say that say nothing themselves."),
  tests: required(list(row, { min: 1, max: 10_000 }), "The table."),
});

/** Reads a `*.test.yaml`. Throws CountersignErrors with everything that is wrong, each with its place. */
export async function loadPolicyTestFile(name: string, environment: Environment): Promise<PolicyTestFile> {
  let content: string;
  try {
    content = await readTextFile(name, MAX_FILE_BYTES);
  } catch (error) {
    if (error instanceof CountersignError) throw new CountersignErrors([error]);
    throw error;
  }
  const absolute = resolve(name);
  const { value } = readYaml(file, content, { file: name, folder: dirname(absolute) }, environment);
  return { file: absolute, ...value, defaults: value.defaults ?? {} };
}

/** The format as JSON Schema (draft-07), for editors. */
export function policyTestJsonSchema(): JsonSchema {
  return {
    $schema: "http://json-schema.org/draft-07/schema#",
    title: "*.test.yaml",
    description: "A table of tests for countersign policy test.",
    ...file.schema,
  };
}

/** A mapping whose values are the test's own business. */
function anyMapping(): Shape<Readonly<Record<string, unknown>>> {
  return {
    schema: { type: "object" },
    read(node, context) {
      if (node.kind === "map") return plainMap(node);
      return context.problems.error("E_CONFIG_VALUE", node.at, `${context.path} is not a mapping`);
    },
  };
}

function plainMap(node: Extract<YamlNode, { kind: "map" }>): Readonly<Record<string, unknown>> {
  return Object.fromEntries(node.entries.map(({ key, value }) => [key, plain(value)]));
}

function plain(node: YamlNode): unknown {
  switch (node.kind) {
    case "map":
      return plainMap(node);
    case "list":
      return node.items.map(plain);
    case "text":
    case "number":
    case "boolean":
      return node.value;
    case "null":
      return null;
  }
}
