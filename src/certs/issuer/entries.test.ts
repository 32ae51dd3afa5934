import { describe, expect, it } from "vitest";
import { parseSpiffeId } from "../../core/spiffe-id.ts";
import { type Entry, entriesOf, needsHash } from "./entries.ts";
import { parseSelector, type Selector } from "./selectors.ts";

const hash = "a".repeat(64);
function entry(name: string, ...selectors: string[]): Entry {
  return {
    id: parseSpiffeId(`spiffe://example.org/${name}`),
    selectors: selectors.map((text) => parseSelector(text) as Selector),
    hint: "",
    svidTtlMs: undefined,
    jwtTtlMs: undefined,
    federatesWith: undefined,
  };
}
const entries = [
  entry("a", "unix:uid:1001"),
  entry("b", "unix:uid:1001", "unix:path:/bin/b"),
  entry("c", "unix:uid:1001", "unix:path:/bin/b", `unix:sha256:${hash}`),
  entry("d", "unix:uid:1002", "unix:gid:7"),
];
const caller = (uid: number, gid: number, path?: string, sha256?: string) => ({ uid, gid, path, sha256 });

describe("entriesOf", () => {
  it.each([
    ["only the uid", caller(1001, 1), ["a"]],
    ["uid and path", caller(1001, 1, "/bin/b"), ["a", "b"]],
    ["uid, path and hash", caller(1001, 1, "/bin/b", hash), ["a", "b", "c"]],
    ["another hash", caller(1001, 1, "/bin/b", "b".repeat(64)), ["a", "b"]],
    ["uid without its gid", caller(1002, 1), []],
    ["uid and gid", caller(1002, 7), ["d"]],
    ["a stranger with the right path", caller(5, 5, "/bin/b", hash), []],
  ])("with %s", (_name, facts, expected) => {
    expect(entriesOf(entries, facts).map(({ id }) => id.slice("spiffe://example.org/".length))).toEqual(expected);
  });
});

describe("needsHash", () => {
  it.each([
    ["everything else holds", caller(1001, 1, "/bin/b"), true],
    ["the path differs", caller(1001, 1, "/bin/x"), false],
    ["the uid differs: a stranger cannot make us hash", caller(5, 5, "/bin/b"), false],
  ])("when %s", (_name, facts, expected) => {
    expect(needsHash(entries, facts)).toBe(expected);
  });
});
