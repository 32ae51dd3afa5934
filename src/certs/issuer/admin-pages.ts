import { CountersignError, CountersignErrors } from "../../core/errors.ts";
import { parseTrustDomain, type TrustDomain } from "../../core/spiffe-id.ts";
import type { EntryBook, ListedEntry } from "./entry-book.ts";
import { type EntryJson, entryJson } from "./entry-json.ts";
import { parseEntry } from "./entry-shape.ts";
import type { FederatedBundles, ListedBundle } from "./federated-bundles.ts";
import { type Answer, NOT_FOUND, WRONG_METHOD } from "./small-http.ts";

/** What `issuer entries` gets of each entry. */
export interface EntryView extends EntryJson {
  readonly entryId: string;
  readonly source: "file" | "added";
  readonly suspended?: string;
}

/** What `issuer bundle list` gets of each bundle of another trust domain. Times are RFC 3339 in UTC. */
export interface BundleView {
  readonly trustDomain: string;
  readonly source: "endpoint" | "set";
  readonly url?: string;
  /** Decimal: it may be beyond 2^53. */
  readonly sequence?: string;
  readonly x509Authorities: number;
  readonly jwtAuthorities: number;
  /** When it was fetched or set; absent: only the bootstrap bundle is known, or none. */
  readonly since?: string;
  readonly ageSeconds?: number;
  readonly nextFetch?: string;
  readonly problem?: { readonly code: string; readonly message: string };
}

export interface AdminPagesOptions {
  readonly book: EntryBook;
  readonly bundles: FederatedBundles;
  readonly nowMs: () => number;
  /** A change was made. `what` is one line. */
  readonly onChange: (reason: "entry.added" | "entry.removed" | "bundle.set" | "bundle.removed", what: string) => void;
}

/** What the admin socket answers: entries and federated bundles, as JSON. Refusals are `{"error": {code, message, fix}}`. */
export function answerAdmin(
  { book, bundles, nowMs, onChange }: AdminPagesOptions,
  { method, path, body }: { readonly method: string; readonly path: string; readonly body: string },
): Answer {
  const [, collection, name, rest] = path.split("/");
  if (rest !== undefined) return NOT_FOUND;
  try {
    if (collection === "entries") {
      if (name === undefined && method === "GET") return json(200, { entries: book.listed.map(entryView) });
      if (name === undefined && method === "POST") {
        const { added, warnings } = book.add(parseEntry(body, "the entry"));
        onChange("entry.added", `${added.entryId} ${added.entry.id}`);
        return json(200, { entry: entryView(added), warnings });
      }
      if (name !== undefined && method === "DELETE") {
        const removed = book.remove(name);
        onChange("entry.removed", `${removed.entryId} ${removed.entry.id}`);
        return json(200, { entry: entryView(removed) });
      }
      return WRONG_METHOD;
    }
    if (collection === "bundles") {
      if (name === undefined && method === "GET")
        return json(200, { bundles: bundles.listed.map((one) => bundleView(one, nowMs())) });
      if (name === undefined) return WRONG_METHOD;
      return answerBundle(bundles, parseTrustDomain(name), method, body, onChange);
    }
    return NOT_FOUND;
  } catch (error) {
    return refusal(error);
  }
}

function answerBundle(
  bundles: FederatedBundles,
  trustDomain: TrustDomain,
  method: string,
  body: string,
  onChange: AdminPagesOptions["onChange"],
): Answer {
  switch (method) {
    case "GET": {
      const document = bundles.bundles.get(trustDomain)?.document;
      if (document === undefined) throw new CountersignError("E_ISSUER_BUNDLE", `there is no bundle of ${trustDomain}`);
      return json(200, { document });
    }
    case "PUT":
      bundles.set(trustDomain, body);
      onChange("bundle.set", trustDomain);
      return json(200, {});
    case "DELETE":
      bundles.remove(trustDomain);
      onChange("bundle.removed", trustDomain);
      return json(200, {});
    default:
      return WRONG_METHOD;
  }
}

function entryView({ entryId, entry, source, suspended }: ListedEntry): EntryView {
  return { entryId, source, ...entryJson(entry), ...(suspended === undefined ? {} : { suspended }) };
}

function bundleView(listed: ListedBundle, nowMs: number): BundleView {
  const { source, bundle } = listed;
  const sinceMs = listed.source === "set" ? listed.setAtMs : listed.status.fetchedAtMs;
  const counts = {
    x509Authorities: bundle?.trustBundle.authorities.length ?? 0,
    jwtAuthorities: bundle?.jwtBundle.keys.length ?? 0,
    ...(bundle?.sequence === undefined ? {} : { sequence: String(bundle.sequence) }),
    ...(sinceMs === undefined
      ? {}
      : { since: isoTime(sinceMs), ageSeconds: Math.max(0, Math.floor((nowMs - sinceMs) / 1000)) }),
  };
  if (listed.source === "set") return { trustDomain: listed.bundle.trustDomain, source, ...counts };
  const { trustDomain, url, nextFetchMs, problem } = listed.status;
  const shown = problem && { code: problem.code, message: problem.message };
  return {
    trustDomain,
    source,
    url,
    ...counts,
    nextFetch: isoTime(nextFetchMs),
    ...(shown === undefined ? {} : { problem: shown }),
  };
}

/** Bad requests are told with all that is wrong; what is our fault goes on. */
function refusal(error: unknown): Answer {
  if (error instanceof CountersignErrors) {
    const [first] = error.errors;
    const message = error.errors.map((one) => one.message).join("; ");
    return json(400, { error: { code: first?.code, message, fix: first?.fix } });
  }
  if (!(error instanceof CountersignError)) throw error;
  const { code, message, fix } = error;
  return json(400, { error: { code, message, fix } });
}

function json(status: number, value: object): Answer {
  return { status, contentType: "application/json", body: `${JSON.stringify(value)}\n`, maxAgeSeconds: 0 };
}

const isoTime = (ms: number): string => new Date(ms).toISOString();
