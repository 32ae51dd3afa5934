// Whether those behind the sidecar understood the same requests as the sidecar's records say.
import type { CallOutcome } from "../../src/core/call-outcome.ts";
import type { SeenRequest } from "./seen-request.ts";

/** What every request of the generator has in its path, and no smuggled one may have but once. */
const idPattern = /\/r(\d+)-(\d+)\b/;

/** The id of a request of the generator, by what somebody took for its target or path. */
export function requestIdOf(target: string): string | undefined {
  return idPattern.exec(target)?.[0];
}

/** A readable line for each difference; none is right. `records` are the final ones of requests, of one hop. */
export function differences(records: readonly CallOutcome[], seen: readonly SeenRequest[]): string[] {
  const found: string[] = [];
  const allowed = records.filter(({ kind, decision }) => kind === "request" && decision !== "deny");
  const byPath = Map.groupBy(allowed, ({ path = "" }) => plainPath(path));
  const observers = Map.groupBy(seen, ({ by }) => by);
  for (const [by, requests] of observers) {
    const counts = new Map<string, number>();
    const unread = requests.filter(({ method, target }) => method === "" && requestIdOf(target) === undefined);
    for (const request of requests) {
      if (unread.includes(request)) continue;
      const path = pathOf(request.target);
      const number = counts.get(path) ?? 0;
      counts.set(path, number + 1);
      const candidates = byPath.get(path) ?? [];
      if (request.method === "" || !candidates.some((record) => isSame(record, request)))
        found.push(
          `${by} saw ${describe(request)}; the records of ${path} say ${candidates.map(text).join(", ") || "nothing"}`,
        );
    }
    // a log that says no more than that something was refused
    const refused = allowed.filter(({ path = "", status = 0 }) => status >= 400 && !counts.has(plainPath(path))).length;
    if (unread.length > refused)
      found.push(
        `${by} could not read ${unread.length} (${describe(unread[0])} …); recorded as refused are ${refused}`,
      );
    for (const [path, number] of counts) {
      const recorded = byPath.get(path)?.length ?? 0;
      if (number > recorded) found.push(`${by} saw ${path} ${number} times, recorded are ${recorded}`);
    }
    // an answer of the origin's says that it saw the request
    for (const [path, group] of byPath) {
      const answered = group.filter(({ decision, status }) => decision === "allow" && status === 200).length;
      if ((counts.get(path) ?? 0) < answered) found.push(`${by} never saw ${path}, whose record says it was answered`);
    }
  }
  return found;
}

/** A body that did not come whole to one of the two is an error in the record, and has no length to compare. */
function isSame(record: CallOutcome, request: SeenRequest): boolean {
  const isWhole = request.length !== undefined && record.decision === "allow";
  return (
    record.method === request.method &&
    (request.hosts === undefined ||
      (request.hosts.length <= 1 && (request.hosts[0] ?? "") === (record.authority ?? ""))) &&
    (!isWhole || request.length === record.bytesIn)
  );
}

function pathOf(target: string): string {
  const origin = /^[a-z]+:\/\/[^/?#]*(.*)$/i.exec(target)?.[1] ?? target;
  return plainPath(origin.split("?")[0] ?? "");
}

/** Apache merges slashes in front and escapes backslashes when it hands a request on; the id tells requests apart all the same. */
function plainPath(path: string): string {
  return path.replace(/^\/+/, "/").replaceAll(/%5c/gi, "\\");
}

function describe(request: SeenRequest | undefined): string {
  if (request === undefined) return "nothing";
  const { method, target, hosts, length } = request;
  return `${method || "something that is no request"} ${JSON.stringify(target)} for ${JSON.stringify(hosts)} with ${length ?? "?"} bytes`;
}

function text({ method, authority, bytesIn, decision, status }: CallOutcome): string {
  return `${method} for ${authority} with ${bytesIn} bytes (${decision} ${status})`;
}
