import { describe, expect, it } from "vitest";
import { formatSelector, matchesSelector, parseSelector, type Selector } from "./selectors.ts";

const hash = "a".repeat(64);

describe("parseSelector", () => {
  it.each<[string, Selector]>([
    ["unix:uid:0", { kind: "uid", value: 0 }],
    ["unix:uid:1001", { kind: "uid", value: 1001 }],
    ["unix:gid:4294967294", { kind: "gid", value: 4294967294 }],
    ["unix:path:/usr/bin/node", { kind: "path", value: "/usr/bin/node" }],
    ["unix:path:/opt/a b:c", { kind: "path", value: "/opt/a b:c" }],
    [`unix:sha256:${hash}`, { kind: "sha256", value: hash }],
  ])("reads %s and writes it the same way", (text, selector) => {
    expect(parseSelector(text)).toEqual(selector);
    expect(formatSelector(selector)).toBe(text);
  });

  it.each([
    ["unix:uid:", "decimal uid"],
    ["unix:uid:-1", "decimal uid"],
    ["unix:uid:01", "decimal uid"],
    ["unix:uid:0x10", "decimal uid"],
    ["unix:uid:1e3", "decimal uid"],
    ["unix:uid:4294967295", "decimal uid"],
    ["unix:gid:root", "decimal gid"],
    ["unix:path:bin/app", "absolute path"],
    ["unix:path:/opt/../bin/app", "absolute path"],
    ["unix:path:/opt//app", "absolute path"],
    ["unix:path:/opt/", "absolute path"],
    ["unix:sha256:abc", "SHA-256"],
    [`unix:sha256:${hash.toUpperCase()}`, "SHA-256"],
    ["unix:user:root", "is not one of"],
    ["k8s:ns:shop", "is not one of"],
    ["", "is not one of"],
  ])("refuses %j", (text, why) => {
    expect(parseSelector(text)).toContain(why);
  });
});

describe("matchesSelector", () => {
  const caller = { uid: 1001, gid: 5, path: undefined, sha256: undefined };
  it.each<[string, Selector, boolean]>([
    ["the same uid", { kind: "uid", value: 1001 }, true],
    ["another uid", { kind: "uid", value: 0 }, false],
    ["the uid's number as gid", { kind: "gid", value: 1001 }, false],
    ["a path that is not known", { kind: "path", value: "/x" }, false],
  ])("%s", (_name, selector, expected) => {
    expect(matchesSelector(selector, caller)).toBe(expected);
  });
});
