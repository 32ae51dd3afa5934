import { basename } from "node:path";
import type { Problems } from "../../config/problems.ts";
import { placeOf } from "../../config/yaml-shape.ts";
import type { YamlNode } from "../../config/yaml-tree.ts";
import type { ErrorCode } from "../../core/error-codes.ts";
import { pathOf, type SpiffeId, type TrustDomain, trustDomainOf } from "../../core/spiffe-id.ts";
import { type Entry, entryIdOf } from "./entries.ts";
import type { Selector } from "./selectors.ts";

/** What entries are held against. */
export interface EntryRules {
  readonly trustDomain: TrustDomain;
  /** Several IDs may share a uid. */
  readonly development: boolean;
  /** Longest life of an SVID: what an authority surely outlives. */
  readonly maxTtlMs: number;
  readonly svidRotationMs: number | undefined;
  readonly federatesWith: ReadonlySet<TrustDomain>;
  /** The bundle endpoint's ID, which no workload may get. */
  readonly endpointId: SpiffeId | undefined;
}

/** Something that one entry alone cannot tell. Errors have an E_ code, warnings a W_ one. */
export interface EntryFinding {
  readonly code: ErrorCode | `W_${string}`;
  readonly index: number;
  readonly key: "id" | "selectors" | "hint" | "svidTtl" | "jwtTtl" | "federatesWith";
  readonly message: string;
  readonly fix: string;
}

/** Finds what is wrong with a list of entries: IDs outside the trust domain, several IDs on one uid, repeated entries, SVIDs that live
 *  too long; and as warnings repeated hints, executables that run any script, and bundles that nobody brings. A finding stands
 *  at the later of two entries that do not go together. */
export function findEntryProblems(entries: readonly Entry[], rules: EntryRules): readonly EntryFinding[] {
  const found: EntryFinding[] = [];
  const idOfUid = new Map<number, SpiffeId>();
  const seen = new Set<string>();
  const hints = new Set<string>();
  for (const [index, entry] of entries.entries()) {
    const { id, selectors, hint } = entry;
    const add = (code: EntryFinding["code"], key: EntryFinding["key"], message: string, fix: string): void =>
      void found.push({ code, index, key, message, fix });
    checkId(id, rules, add);
    checkTimes(entry, rules, add);
    const entryId = entryIdOf(entry);
    if (seen.has(entryId)) add("E_CONFIG_DUPLICATE", "id", `${id} has the same selectors twice`, "remove one");
    seen.add(entryId);
    const stranger = entry.federatesWith?.find((trustDomain) => !rules.federatesWith.has(trustDomain));
    if (stranger !== undefined) {
      const message = `${id} federates with ${stranger}, whose bundle nothing brings`;
      add(
        "W_ISSUER_FEDERATES",
        "federatesWith",
        message,
        "add it to the issuer's federatesWith, or `issuer bundle set` it",
      );
    }
    for (const selector of selectors) {
      if (selector.kind === "path") checkPath(selector, add);
      if (selector.kind !== "uid") continue;
      const uid = selector.value;
      const other = idOfUid.get(uid) ?? id;
      idOfUid.set(uid, other);
      if (other !== id && !rules.development) {
        const message = `${id} shares uid ${uid} with ${other}: each could become the other`;
        const fix = "run each under a uid of its own, or set development: true where that does not matter";
        add("E_CONFIG_VALUE", "selectors", message, fix);
      }
      if (hint !== "" && hints.has(`${uid} ${hint}`)) {
        const message = `the hint ${JSON.stringify(hint)} is used twice for uid ${uid}: clients take the first`;
        add("W_ISSUER_HINT", "hint", message, "give each entry of a workload a hint of its own");
      }
      hints.add(`${uid} ${hint}`);
    }
  }
  return found;
}

/** The same for the file `node` is the root of, each finding at its place. */
export function checkEntries(entries: readonly Entry[], rules: EntryRules, node: YamlNode, problems: Problems): void {
  const list = node.kind === "map" ? node.entries.find(({ key }) => key === "entries")?.value : undefined;
  const items = list?.kind === "list" ? list.items : [];
  for (const { code, index, key, message, fix } of findEntryProblems(entries, rules)) {
    const item = items[index];
    if (item === undefined) throw new TypeError("every entry has its node");
    if (isWarning(code)) problems.warn(code, placeOf(item, key), message, fix);
    else problems.error(code, placeOf(item, key), message, fix);
  }
}

export function isWarning(code: EntryFinding["code"]): code is `W_${string}` {
  return code.startsWith("W_");
}

type Add = (code: EntryFinding["code"], key: EntryFinding["key"], message: string, fix: string) => void;

function checkId(id: SpiffeId, { trustDomain, endpointId }: EntryRules, add: Add): void {
  if (trustDomainOf(id) !== trustDomain) {
    const fix = `write spiffe://${trustDomain}${pathOf(id)}`;
    add("E_CONFIG_VALUE", "id", `${id} is outside the trust domain ${trustDomain}`, fix);
  } else if (pathOf(id) === "") {
    add("E_CONFIG_VALUE", "id", `${id} has no path: it names the trust domain itself`, "add a path");
  } else if (id === endpointId) {
    const message = `${id} is the bundle endpoint's: who has it could speak for the whole trust domain`;
    add("E_CONFIG_VALUE", "id", message, "give the workload another ID, or set http.bundleEndpoint.id");
  }
}

function checkTimes({ id, svidTtlMs, jwtTtlMs }: Entry, { maxTtlMs, svidRotationMs }: EntryRules, add: Add): void {
  for (const [key, ttl] of [["svidTtl", svidTtlMs] as const, ["jwtTtl", jwtTtlMs] as const])
    if (ttl !== undefined && ttl > maxTtlMs)
      add("E_CONFIG_VALUE", key, `${key} of ${id} is longer than a sixth of caTtl`, "lower it, or raise caTtl");
  if (svidTtlMs !== undefined && svidRotationMs !== undefined && svidRotationMs >= svidTtlMs)
    add(
      "E_CONFIG_VALUE",
      "svidTtl",
      `svidTtl of ${id} is not longer than svidRotation`,
      "raise it, or lower svidRotation",
    );
}

function checkPath(selector: Selector & { readonly kind: "path" | "sha256" }, add: Add): void {
  if (!INTERPRETER.test(basename(selector.value))) return;
  const message = `${selector.value} runs any script, so its path says little about the workload`;
  add("W_ISSUER_INTERPRETER", "selectors", message, "rely on the uid, or build the workload as an executable");
}

const INTERPRETER =
  /^(?:node|nodejs|deno|bun|python|pypy|ruby|perl|php|java|lua|luajit|bash|sh|dash|zsh|ksh|fish|busybox|dotnet|mono|tclsh|Rscript|guile|env|qemu-.*|ld-.*|ld\.so.*)(?:[-.]?[0-9][0-9.]*)?$/;
