import type { StatusDocument, StatusListener, StatusWorker } from "../admin/status-document.ts";
import type { StatusProblem } from "../admin/status-identity.ts";
import { identitySections } from "./status-identity-view.ts";
import { duration, plural, problemText, show } from "./status-texts.ts";

const red = 31;
const green = 32;
const LABEL_WIDTH = 11;

/** A status document as people read it: a label in the first column, what belongs to it in the second. */
export function formatStatus(document: StatusDocument, colour: boolean): string {
  const paint = (code: number, text: string): string => (colour ? `\u001b[${code}m${text}\u001b[0m` : text);
  const lines: string[] = [];
  const section = (label: string, texts: readonly string[]): void => {
    texts.forEach((text, i) => {
      lines.push(`${(i === 0 ? label : "").padEnd(LABEL_WIDTH)}${text}`);
    });
  };
  const { identity, policy, audit } = document;
  const nowMs = Date.parse(document.startedAt) + document.uptimeSeconds * 1000;

  section("sidecar", [
    `countersign ${show(document.version)}, pid ${show(document.pid)}, up ${duration(document.uptimeSeconds)}`,
  ]);
  section("ready", document.ready ? [paint(green, "yes")] : [paint(red, "no"), ...document.reasons.map(problemText)]);
  for (const [label, texts] of identitySections(identity, nowMs)) section(label, texts);
  section("policy", [
    policy === undefined
      ? "none"
      : `version ${show(policy.version)}, ${plural(policy.policies, "policy", "policies")}, ${plural(policy.rules, "rule", "rules")}, loaded ${duration((nowMs - Date.parse(policy.loadedAt)) / 1000)} ago`,
    ...(policy?.sources ?? []).flatMap(({ name, ageSeconds, newest, problem, keepProblem, ...inForce }) => [
      `from ${show(name)}, confirmed ${duration(ageSeconds)} ago, ${policyVersion(inForce)}${problem === undefined ? "" : `: ${paint(red, problemText(problem))}`}`,
      ...(newest === undefined
        ? []
        : [`  its newest, ${policyVersion(newest)}, is not in force${paint(red, firstOf(newest.problems))}`]),
      ...(keepProblem === undefined ? [] : [`  ${paint(red, problemText(keepProblem))}`]),
    ]),
  ]);
  section(
    "keys",
    (document.keySources ?? []).map(
      ({ from, keys, ageSeconds, problem }) =>
        `${plural(keys, "key", "keys")} from ${show(from)}${ageSeconds === undefined ? "" : `, fetched ${duration(ageSeconds)} ago`}${problem === undefined ? "" : `: ${paint(red, problemText(problem))}`}`,
    ),
  );
  section(
    "providers",
    (document.providers ?? []).map(
      ({ name, allowed, denied, failed }) =>
        `${show(name)}: ${show(allowed)} allowed, ${show(denied)} denied, ${failed === 0 ? "0" : paint(red, show(failed))} failed`,
    ),
  );
  section(
    "reload",
    document.reloadProblems.length === 0
      ? []
      : [paint(red, "failed; the last good state serves"), ...document.reloadProblems.map(problemText)],
  );
  section("audit", [
    audit.problem === undefined ? paint(green, "healthy") : paint(red, show(audit.problem)),
    `${show(audit.queued)} of ${show(audit.capacity)} places taken, ${show(audit.written)} written, ${show(audit.dropped)} dropped, on failure ${show(audit.onFailure)}`,
    ...audit.sinks.map(({ name, problem }) => `${show(name)}${problem === undefined ? "" : `: ${show(problem)}`}`),
  ]);
  section("workers", workerRows(document.workers ?? []));
  section("listeners", document.listeners.length === 0 ? ["none"] : table(listenerRows(document.listeners)));
  const endpoints = endpointRows(document.listeners);
  section("upstreams", endpoints.length === 1 ? [] : table(endpoints));
  section(
    "",
    document.listeners.flatMap(({ upstream }) => (upstream?.problems ?? []).map((one) => paint(red, problemText(one)))),
  );
  return `${lines.join("\n")}\n`;
}

function policyVersion({
  version,
  digest,
}: {
  readonly version?: number | undefined;
  readonly digest: string;
}): string {
  return version === undefined ? `digest ${show(digest)}` : `version ${show(version)}`;
}

function firstOf([first, ...more]: readonly StatusProblem[]): string {
  if (first === undefined) return "";
  return `: ${problemText(first)}${more.length === 0 ? "" : ` (and ${plural(more.length, "more error", "more errors")})`}`;
}

/** Nothing where the main thread does the work. */
function workerRows(workers: readonly StatusWorker[]): string[] {
  if (workers.length === 0) return [];
  const rows = workers.map(({ worker, connections, calls, callsEnded, answering }) => [
    ...[worker, connections, calls, callsEnded].map(show),
    answering ? "yes" : "no",
  ]);
  return table([["number", "open", "calls", "ended", "answers"], ...rows]);
}

function listenerRows(listeners: readonly StatusListener[]): string[][] {
  return [
    ["name", "direction", "address", "to", "protocol", "open", "upstream"],
    ...listeners.map((one) =>
      [one.name, one.direction, one.address, one.target, one.protocol, one.connections, one.upstreamConnections].map(
        show,
      ),
    ),
  ];
}

function endpointRows(listeners: readonly StatusListener[]): string[][] {
  return [
    ["name", "endpoint", "state", "active", "latency", "failures"],
    ...listeners.flatMap(({ name, upstream }) =>
      (upstream?.endpoints ?? []).map((one) => {
        const left = one.ejectedForMs === undefined ? "" : ` for ${duration(one.ejectedForMs / 1000)}`;
        const found = one.name === undefined ? "" : ` (${one.name})`;
        const latency = one.latencyMs === undefined ? "" : `${one.latencyMs.toFixed(1)} ms`;
        return [name, one.address + found, one.state + left, one.active, latency, one.failures].map(show);
      }),
    ),
  ];
}

function table(rows: readonly (readonly string[])[]): string[] {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join("  ")
      .trimEnd(),
  );
}
