import { asciiJson } from "../core/safe-text.ts";
import type { Suggestion } from "./suggest-policies.ts";
import type { PathEvidence, SuggestedOperation, SuggestedRule } from "./suggest-rules.ts";

export interface SuggestTarget {
  readonly namespace: string;
  /** Of the policies; a number is added when there are several. */
  readonly name: string;
  readonly labels: ReadonlyMap<string, string>;
  readonly direction: "inbound" | "outbound";
  /** For the first line. */
  readonly source: string;
}

/** Istio's limit of rules in a policy. */
const MAX_RULES = 512;
const SHOWN_PATHS = 12;

/** The suggestion as policy documents, with the evidence as comments. Whatever callers have sent is quoted: it can end no comment and no
 *  value. */
export function suggestionYaml(suggestion: Suggestion, target: SuggestTarget): string {
  const { rules, calls, firstTime, lastTime, leftOut } = suggestion;
  const head = [
    `# Written by \`countersign policy suggest\` from ${quote(target.source)}:`,
    `# ${counted(calls, "call")}${calls === 0 ? "" : ` from ${plain(firstTime)} to ${plain(lastTime)}`}.`,
    ...leftOut.map(
      ({ why, calls: count, example }) => `# Left out: ${counted(count, "call")} (${why}), e.g. ${quote(example)}.`,
    ),
    "# Read it before you use it: it allows what was done, not what should be.",
  ];
  const documents: string[] = [];
  const parts = Math.max(1, Math.ceil(rules.length / MAX_RULES));
  for (let part = 0; part < parts; part++) {
    const name = parts === 1 ? target.name : `${target.name}-${part + 1}`;
    documents.push(documentOf(rules.slice(part * MAX_RULES, (part + 1) * MAX_RULES), name, target));
  }
  return `${head.join("\n")}\n${documents.join("---\n")}`;
}

function documentOf(rules: readonly SuggestedRule[], name: string, target: SuggestTarget): string {
  const { namespace, labels, direction } = target;
  const outbound = direction === "outbound";
  const lines = [
    `apiVersion: ${outbound ? "countersign.dev/v1" : "security.istio.io/v1"}`,
    "kind: AuthorizationPolicy",
    `metadata: { name: ${quote(name)}, namespace: ${quote(namespace)} }`,
    "spec:",
    ...(outbound ? ["  direction: OUTBOUND"] : []),
    ...(labels.size === 0
      ? []
      : [
          `  selector: { matchLabels: { ${[...labels].map(([key, value]) => `${quote(key)}: ${quote(value)}`).join(", ")} } }`,
        ]),
    "  action: ALLOW",
    ...(rules.length === 0 ? ["  # no call, so nothing is allowed"] : ["  rules:"]),
    ...rules.flatMap((rule) => ruleLines(rule, outbound)),
  ];
  return `${lines.join("\n")}\n`;
}

function ruleLines({ callers, operations }: SuggestedRule, outbound: boolean): readonly string[] {
  const anonymous = callers.some(({ principal }) => principal === "");
  const evidence = callers.map(
    ({ principal, host, calls, lastTime }) =>
      `    # ${host !== undefined ? quote(host) : principal === "" ? "callers without identity" : quote(principal)}: ${counted(calls, "call")}, last ${plain(lastTime)}`,
  );
  const values = list(callers.map(({ principal, host }) => host ?? principal));
  const source = anonymous ? 'notPrincipals: ["*"]' : `principals: ${values}`;
  if (outbound) {
    const whom = `${anonymous ? "hosts" : "principals"}: ${values}`;
    return [...evidence, "    - to:", ...operations.flatMap((one) => operationLines(one, whom))];
  }
  const from = ["    - from:", `        - source: { ${source} }`];
  const all = operations.some(isEverything);
  const to = all ? [] : ["      to:", ...operations.flatMap((one) => operationLines(one, undefined))];
  return [...evidence, ...from, ...to];
}

/** TCP to an app without a port: there is nothing to write into `to`. */
function isEverything({ kind, port }: SuggestedOperation): boolean {
  return kind === "tcp" && (port === undefined || port === 0);
}

function operationLines(operation: SuggestedOperation, whom: string | undefined): readonly string[] {
  const { kind, methods, paths, notPaths, port, evidence } = operation;
  const fields = [
    ...(whom === undefined ? [] : [whom]),
    ...(methods.length === 0 ? [] : [`methods: ${list(methods)}`]),
    ...(paths.length === 0 ? [] : [`paths: ${list(paths)}`]),
    ...(notPaths.length === 0 ? [] : [`notPaths: ${list(notPaths)}`]),
    ...(port === undefined || port === 0 ? [] : [`ports: ["${port}"]`]),
  ];
  const seen = evidence.slice(0, SHOWN_PATHS).map((one) => `        # ${evidenceText(one)}`);
  const more = evidence.length - seen.length;
  return [
    `        # ${kind === "tcp" ? "TCP" : kind}:`,
    ...seen,
    ...(more > 0 ? [`        # and ${more} more`] : []),
    `        - operation:`,
    ...fields.map((field) => `            ${field}`),
  ];
}

function evidenceText({ method, path, calls, lastTime, example }: PathEvidence): string {
  if (path === "") return `${counted(calls, "connection")}, last ${plain(lastTime)}`;
  const such = path.includes("{*}") ? `, such as ${quote(example)}` : "";
  return `${method} ${quote(path)}: ${counted(calls, "call")}, last ${plain(lastTime)}${such}`;
}

function list(values: readonly string[]): string {
  return `[${values.map(quote).join(", ")}]`;
}

/** A JSON string is a YAML string, and holds no line break. */
function quote(text: string): string {
  return asciiJson(JSON.stringify(text));
}

/** A time of a record, which may come from anywhere. */
function plain(time: string): string {
  return /^[0-9TZ:.+-]{1,40}$/.test(time) ? time : quote(time);
}

function counted(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? "" : "s"}`;
}
