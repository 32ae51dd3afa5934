import {
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Pair,
  parseAllDocuments,
  type Scalar,
  visit,
  type YAMLSeq,
} from "yaml";
import { deadPathValue } from "../authz/path-value.ts";
import type { PolicyOptions } from "../authz/policy-options.ts";
import { isSameKey } from "../authz/yaml-access.ts";
import type { CountersignError, Warning } from "../core/errors.ts";
import { ADDS_NOTHING } from "./lint-values.ts";

/** A change of a file's text whose effect is certain. Offsets in UTF-16 units. */
export interface TextEdit {
  readonly start: number;
  readonly end: number;
  readonly text: string;
  /** What is changed, for people. */
  readonly what: string;
}

/** An edit and the finding that it is for. */
export interface CertainFix extends TextEdit {
  readonly settles: Finding;
  /** Where that stands. */
  readonly offset: number;
}

type Finding = CountersignError | Warning;

const METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

/** The edits that settle those of a file's findings whose fix is certain. Comments and layout stay. Never throws. A file that cannot be parsed
 *  has no edits, nor has one with aliases, where what is changed in one place means something else in another. */
export function certainFixes(
  text: string,
  findings: readonly Finding[],
  options: PolicyOptions,
): readonly CertainFix[] {
  const lines = new LineCounter();
  const documents = parseAllDocuments(text, {
    lineCounter: lines,
    logLevel: "silent",
    stringKeys: true,
    uniqueKeys: false,
  });
  if (documents.some(({ errors }) => errors.length > 0)) return [];
  const scalars = new Map<number, Scalar>();
  const keys = new Map<number, { key: Scalar; siblings: readonly string[] }>();
  const lists = new Map<number, YAMLSeq>();
  let hasAliases = false;
  for (const document of documents)
    visit(document, {
      Alias() {
        hasAliases = true;
      },
      Scalar(_, node) {
        if (node.range != null) scalars.set(node.range[0], node);
      },
      Pair(_, pair: Pair, path) {
        const map = path[path.length - 1];
        if (!isScalar(pair.key) || pair.key.range == null || !isMap(map)) return;
        keys.set(pair.key.range[0], {
          key: pair.key,
          siblings: map.items.map(({ key }) => String(isScalar(key) ? key.value : "")),
        });
        if (isSeq(pair.value)) lists.set(pair.key.range[0], pair.value);
      },
    });
  if (hasAliases) return [];
  const removals = Map.groupBy(findings.filter(isRemoval), (finding) => offsetOf(finding, lines));
  const edits: CertainFix[] = [];
  for (const finding of findings) {
    const offset = offsetOf(finding, lines);
    if (offset === undefined) continue;
    const edit =
      renamedKey(finding, keys.get(offset)) ??
      removedValue(finding, removals.get(offset) ?? [], lists.get(offset), text) ??
      rewritten(finding, scalars.get(offset), text, options);
    if (edit !== undefined) edits.push({ ...edit, settles: finding, offset });
  }
  return withoutOverlaps(edits);
}

/** Applies edits that do not overlap. */
export function applyEdits(text: string, edits: readonly TextEdit[]): string {
  const parts: string[] = [];
  let from = 0;
  for (const { start, end, text: put } of edits.toSorted((a, b) => a.start - b.start)) {
    parts.push(text.slice(from, start), put);
    from = end;
  }
  return parts.join("") + text.slice(from);
}

/** The edits after which what they are for is not gone: where that stood there should be fewer findings of its code, by as many as there are edits
 *  for it. `before` and `after` are the file's findings in its text without the edits, and with them. */
export function unsettledFixes(
  text: string,
  edits: readonly CertainFix[],
  before: readonly Finding[],
  after: readonly Finding[],
): readonly CertainFix[] {
  const [old, now] = [lineCounter(text), lineCounter(applyEdits(text, edits))];
  const countBefore = countByPlace(before, old);
  const countAfter = countByPlace(after, now);
  const inOrder = edits.toSorted((a, b) => a.offset - b.offset);
  const byEnd = edits.toSorted((a, b) => a.end - b.end);
  let [passed, moved] = [0, 0];
  const wanted = new Map<string, { readonly key: string; count: number; readonly edits: CertainFix[] }>();
  for (const one of inOrder) {
    const { offset, settles } = one;
    for (let edit = byEnd[passed]; edit !== undefined && edit.end <= offset; edit = byEnd[++passed])
      moved += edit.text.length - (edit.end - edit.start);
    const key = `${settles.code} ${offset}`;
    const known = wanted.get(key);
    if (known === undefined) {
      const count = (countBefore.get(key) ?? 0) - 1;
      wanted.set(key, { key: `${settles.code} ${offset + moved}`, count, edits: [one] });
    } else {
      known.count--;
      known.edits.push(one);
    }
  }
  return [...wanted.values()].flatMap(({ key, count, edits: some }) =>
    (countAfter.get(key) ?? 0) > count ? some : [],
  );
}

function countByPlace(findings: readonly Finding[], lines: LineCounter): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const finding of findings) {
    const key = `${finding.code} ${offsetOf(finding, lines)}`;
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  return counts;
}

function lineCounter(text: string): LineCounter {
  const lines = new LineCounter();
  lines.addNewLine(0);
  for (let at = text.indexOf("\n"); at !== -1; at = text.indexOf("\n", at + 1)) lines.addNewLine(at + 1);
  return lines;
}

function offsetOf({ at }: Finding, { lineStarts }: LineCounter): number | undefined {
  const start = at?.line === undefined ? undefined : lineStarts[at.line - 1];
  return start === undefined || at?.column === undefined ? undefined : start + at.column - 1;
}

/** A key that differs from one that exists by case or number alone, where that one is not there yet. */
function renamedKey(
  { code, fix }: Finding,
  found: { key: Scalar; siblings: readonly string[] } | undefined,
): TextEdit | undefined {
  const meant = /^did you mean "([A-Za-z]+)"\?$/.exec(fix ?? "")?.[1];
  if (code !== "E_POLICY_UNKNOWN_KEY" || found === undefined || meant === undefined) return undefined;
  if (!isSameKey(meant, String(found.key.value)) || found.siblings.includes(meant) || found.key.range == null)
    return undefined;
  const [start, end] = found.key.range;
  return { start, end, text: meant, what: `${String(found.key.value)} → ${meant}` };
}

function isRemoval({ code, message }: Finding): boolean {
  return code === "W_POLICY_VALUE_REPEATED" && message.endsWith(ADDS_NOTHING);
}

/** The number of the value that a finding at a list's key is about. */
function valueNumber({ message }: Finding): number {
  return Number(/^\S+\[(\d+)\] /.exec(message)?.[1] ?? Number.NaN);
}

/** A value of a list that another one covers; `removals` are all such findings of the list. One with a comment is left to people. */
function removedValue(
  finding: Finding,
  removals: readonly Finding[],
  list: YAMLSeq | undefined,
  text: string,
): TextEdit | undefined {
  const index = valueNumber(finding);
  if (!isRemoval(finding) || list === undefined || Number.isNaN(index)) return undefined;
  const ranges = list.items.map((item) => (isScalar(item) ? item.range : undefined));
  const range = ranges[index];
  if (range == null || removals.length >= ranges.length) return undefined;
  const what = `${text.slice(range[0], range[1])} removed`;
  const next = ranges[index + 1]?.[0] ?? list.range?.[1] ?? range[1];
  const edit = (start: number | undefined, end: number | undefined): TextEdit | undefined =>
    start === undefined || end === undefined || text.slice(start, Math.max(end, next)).includes("#")
      ? undefined
      : { start, end, text: "", what };
  if (list.flow === true) {
    const removed = new Set(removals.map(valueNumber));
    // With the comma behind it where nothing is left before it, else with the one before it: so no two take the same comma.
    const isFirst = ranges.slice(0, index).every((_, i) => removed.has(i));
    return isFirst ? edit(range[0], ranges[index + 1]?.[0]) : edit(ranges[index - 1]?.[1], range[1]);
  }
  const start = text.lastIndexOf("\n", range[0]) + 1;
  const end = text.indexOf("\n", range[1]);
  const isWholeLine = /^\s*-\s*$/.test(text.slice(start, range[0])) && !text.slice(range[0], range[1]).includes("\n");
  return isWholeLine ? edit(start, end === -1 ? text.length : end + 1) : undefined;
}

/** A value that can only have been meant one way. One on several lines, or in a block, is left to people: where it ends, layout tells. */
function rewritten(
  { code }: Finding,
  node: Scalar | undefined,
  text: string,
  options: PolicyOptions,
): TextEdit | undefined {
  if (node?.range == null || node.type === "BLOCK_FOLDED" || node.type === "BLOCK_LITERAL") return undefined;
  const [start, end] = node.range;
  if (text.slice(start, end).includes("\n")) return undefined;
  const put = (value: string): TextEdit => {
    const quoted = JSON.stringify(value);
    return { start, end, text: quoted, what: `${node.source ?? ""} → ${quoted}` };
  };
  if (typeof node.value !== "string") {
    // A number or boolean where a text belongs: as it was written.
    return code === "E_POLICY_TYPE" && node.value !== null && node.source !== undefined ? put(node.source) : undefined;
  }
  const { value } = node;
  if (value.startsWith("spiffe://"))
    return code === "E_POLICY_PRINCIPAL" || code === "W_POLICY_NEVER_MATCHES" ? put(value.slice(9)) : undefined;
  if (code !== "W_POLICY_NEVER_MATCHES") return undefined;
  const upper = value.toUpperCase();
  if (METHODS.includes(upper) && value !== upper) return put(upper);
  return value.startsWith("/") ? normalised(value, options, put) : undefined;
}

/** A path, or its beginning, that is not in the form that requests have. */
function normalised(value: string, options: PolicyOptions, put: (value: string) => TextEdit): TextEdit | undefined {
  if (/[*{}?#]/.test(value.endsWith("*") ? value.slice(0, -1) : value)) return undefined;
  const plain = deadPathValue(value, options)?.plain;
  return plain === undefined ? undefined : put(plain);
}

function withoutOverlaps(edits: readonly CertainFix[]): readonly CertainFix[] {
  const kept: CertainFix[] = [];
  for (const edit of edits.toSorted((a, b) => a.start - b.start || b.end - a.end))
    if (edit.start >= (kept.at(-1)?.end ?? 0)) kept.push(edit);
  return kept;
}
