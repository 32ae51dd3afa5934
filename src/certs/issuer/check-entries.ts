import { basename } from "node:path";
import type { Problems } from "../../config/problems.ts";
import { placeOf } from "../../config/yaml-shape.ts";
import type { YamlNode } from "../../config/yaml-tree.ts";
import type { SourcePosition } from "../../core/errors.ts";
import { pathOf, type SpiffeId, type TrustDomain, trustDomainOf } from "../../core/spiffe-id.ts";
import type { Entry } from "./entries.ts";
import { formatSelector, type Selector } from "./selectors.ts";

/** Reports what one entry alone cannot tell: IDs outside the trust domain, several IDs on one uid, repeated entries and
 *  hints, and (as warnings) executables that run any script. `node` is the whole file. */
export function checkEntries(
  file: { readonly trustDomain: TrustDomain; readonly development: boolean; readonly entries: readonly Entry[] },
  node: YamlNode,
  problems: Problems,
): void {
  const places = placesOf(node);
  const idOfUid = new Map<number, SpiffeId>();
  const seen = new Set<string>();
  const hints = new Set<string>();
  for (const [index, { id, selectors, hint }] of file.entries.entries()) {
    const at = places[index];
    if (at === undefined) throw new TypeError("every entry has its node");
    checkId(id, file.trustDomain, at.id, problems);
    const key = `${id} ${selectors.map(formatSelector).sort().join(" ")}`;
    if (seen.has(key)) problems.error("E_CONFIG_DUPLICATE", at.id, `${id} has the same selectors twice`, "remove one");
    seen.add(key);
    for (const selector of selectors) {
      if (selector.kind === "path") checkPath(selector, at.selectors, problems);
      if (selector.kind !== "uid") continue;
      const uid = selector.value;
      const other = idOfUid.get(uid) ?? id;
      idOfUid.set(uid, other);
      if (other !== id && !file.development) {
        const message = `${id} shares uid ${uid} with ${other}: each could become the other`;
        const fix = "run each under a uid of its own, or set development: true where that does not matter";
        problems.error("E_CONFIG_VALUE", at.selectors, message, fix);
      }
      if (hint !== "" && hints.has(`${uid} ${hint}`)) {
        const message = `the hint ${JSON.stringify(hint)} is used twice for uid ${uid}: clients take the first`;
        problems.warn("W_ISSUER_HINT", at.hint, message, "give each entry of a workload a hint of its own");
      }
      hints.add(`${uid} ${hint}`);
    }
  }
}

function checkId(id: SpiffeId, trustDomain: TrustDomain, at: SourcePosition, problems: Problems): void {
  if (trustDomainOf(id) !== trustDomain) {
    const fix = `write spiffe://${trustDomain}${pathOf(id)}`;
    problems.error("E_CONFIG_VALUE", at, `${id} is outside the trust domain ${trustDomain}`, fix);
  } else if (pathOf(id) === "") {
    problems.error("E_CONFIG_VALUE", at, `${id} has no path: it names the trust domain itself`, "add a path");
  }
}

function checkPath(
  selector: Selector & { readonly kind: "path" | "sha256" },
  at: SourcePosition,
  problems: Problems,
): void {
  if (!INTERPRETER.test(basename(selector.value))) return;
  const message = `${selector.value} runs any script, so its path says little about the workload`;
  problems.warn("W_ISSUER_INTERPRETER", at, message, "rely on the uid, or build the workload as an executable");
}

const INTERPRETER =
  /^(?:node|nodejs|deno|bun|python|pypy|ruby|perl|php|java|lua|luajit|bash|sh|dash|zsh|ksh|fish|busybox|dotnet|mono|tclsh|Rscript|guile|env|qemu-.*|ld-.*|ld\.so.*)(?:[-.]?[0-9][0-9.]*)?$/;

interface EntryPlaces {
  readonly id: SourcePosition;
  readonly selectors: SourcePosition;
  readonly hint: SourcePosition;
}

function placesOf(node: YamlNode): readonly EntryPlaces[] {
  const entries = node.kind === "map" ? node.entries.find(({ key }) => key === "entries")?.value : undefined;
  if (entries?.kind !== "list") return [];
  return entries.items.map((item) => ({
    id: placeOf(item, "id"),
    selectors: placeOf(item, "selectors"),
    hint: placeOf(item, "hint"),
  }));
}
