// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the subject of these tests
import { describe, expect, it } from "vitest";
import { collectProblems } from "./problems.ts";
import { parseYamlTree, type YamlNode } from "./yaml-tree.ts";

function read(text: string, environment: Record<string, string> = {}) {
  const problems = collectProblems();
  const tree = parseYamlTree(text, "c.yaml", environment, problems);
  const errors = problems.errors.map(({ code, message, at }) => `${at?.line}:${at?.column} ${code} ${message}`);
  return { tree, errors };
}

/** The tree without positions. */
function plain(node: YamlNode | undefined): unknown {
  switch (node?.kind) {
    case undefined:
      return undefined;
    case "null":
      return null;
    case "map":
      return Object.fromEntries(node.entries.map(({ key, value }) => [key, plain(value)]));
    case "list":
      return node.items.map(plain);
    case "text":
    case "number":
    case "boolean":
      return node.value;
  }
}

describe("parseYamlTree", () => {
  it.each([
    ["a: 1\nb: [x, true, ~]\nc: {d: e}", { a: 1, b: ["x", true, null], c: { d: "e" } }],
    ["yes: no\non: off", { yes: "no", on: "off" }],
    ["a: 12:30:45", { a: "12:30:45" }],
    ["a: 2030-01-01", { a: "2030-01-01" }],
    ['1: "x"', { 1: "x" }],
    ["a: &x {b: 1}\nc: *x", { a: { b: 1 }, c: { b: 1 } }],
    ["a:", { a: null }],
    ["", null],
    ["# only a comment", null],
  ])("reads %j by the rules of YAML 1.2", (text, value) => {
    expect(read(text)).toMatchObject({ errors: [] });
    expect(plain(read(text).tree)).toEqual(value);
  });

  it.each([
    ["a: 1\nb: 2\na: 3", '3:1 E_CONFIG_YAML the key "a" already stands at line 1'],
    ['1: x\n"1": y', '2:1 E_CONFIG_YAML the key "1" already stands at line 1'],
    ["a: 1\n---\nb: 2", "2:1 E_CONFIG_YAML holds more than one YAML document"],
    ["%YAML 1.1\n---\na: yes", "1:1 E_CONFIG_YAML declares a YAML version other than 1.2"],
    ["a: !!binary aGk=", "1:4 E_CONFIG_YAML Unresolved tag: tag:yaml.org,2002:binary"],
    ["a: !env HOME", "1:4 E_CONFIG_YAML Unresolved tag: !env"],
    ["? [a]\n: 1", "1:3 E_CONFIG_YAML has a key that is no plain text"],
    ["a: *nope", "1:4 E_CONFIG_YAML the alias *nope names no anchor before it"],
    ["a: &x [1, *x]", "1:11 E_CONFIG_YAML the alias *x contains itself"],
    ["a: {b: 1", "1:9 E_CONFIG_YAML"],
    ["a: b: c", "1:4 E_CONFIG_YAML Nested mappings are not allowed in compact mappings"],
    ["a: ${MISSING}", "1:4 E_CONFIG_ENV needs the environment variable MISSING, which is not set"],
  ])("refuses %j with its place", (text, error) => {
    const { errors } = read(text);
    expect(errors[0]).toContain(error);
  });

  it("reports all syntax errors at once", () => {
    expect(read("a: !x 1\nb: !y 2").errors).toHaveLength(2);
  });

  it("stops a bomb of nested aliases", () => {
    const lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"];
    for (let i = 1; i < 12; i++)
      lines.push(`a${i}: &a${i} [${Array.from({ length: 10 }, () => `*a${i - 1}`).join(", ")}]`);
    const { errors } = read(lines.join("\n"));
    expect(errors).toHaveLength(1);
    expect(errors[0]).toContain("holds more than 50000 values");
  });

  it("stops nesting without end", () => {
    expect(read("[".repeat(100) + "]".repeat(100)).errors[0]).toContain("nested deeper than 64");
    expect(read("[".repeat(20_000)).errors.length).toBeGreaterThan(0);
  });

  it("refuses a text over 1 MiB", () => {
    expect(read("a".repeat(1024 * 1024 + 1)).errors[0]).toContain("larger than");
  });

  it("expands variables in values only, and keeps what was written for messages", () => {
    const { tree } = read('${K}: "${V}"', { K: "key", V: "s3cret: {}" });
    const [entry] = tree?.kind === "map" ? tree.entries : [];
    expect(entry?.key).toBe("${K}");
    expect(entry?.value).toMatchObject({ kind: "text", value: "s3cret: {}", source: "${V}", expanded: true });
  });
});
