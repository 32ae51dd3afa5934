import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { atOnce } from "./at-once.ts";
import { collectFindings } from "./findings.ts";
import { readSimpleYaml } from "./simple-yaml.ts";
import { readAnyYaml, type YamlValue } from "./yaml-documents.ts";

function simple(text: string): readonly YamlValue[] | undefined {
  const documents: YamlValue[] = [];
  const take = function* (document: YamlValue) {
    documents.push(document);
    yield;
  };
  return atOnce(readSimpleYaml("a.yaml", text, take)) ? documents : undefined;
}

/** By the library; undefined when it finds anything wrong. */
function byLibrary(text: string): readonly YamlValue[] | undefined {
  const findings = collectFindings("strict");
  const values = atOnce(readAnyYaml("a.yaml", text, findings));
  try {
    findings.throwIfAny();
  } catch {
    return undefined;
  }
  return values;
}

const POLICY = `# who may read
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  name: things   # a name
  namespace: shop
  annotations: { "istio.io/dry-run": "true" }
spec:
  selector: { matchLabels: {app: orders, version: "2"} }

  rules:
  - from:
    - source:
        principals: ["example.org/ns/shop/sa/web", 'a b', c*]
        ipBlocks: [10.0.0.0/8, 10.1.2.3]
    to:
      - operation: { methods: [GET], paths: ["/api/{*}", /x:y/z] }
    # of requests
    when:
    - key: request.headers[x-user]
      values:
        - anna
        -  bert
    conditions: 'request.path == "/"'
  -
    to: []
---
kind: B
---
# nothing

---
- - a
  - b: c
    conditions: x
-   d: {}
`;

const RUNS = Number(process.env["SIMPLE_YAML_RUNS"] ?? 3_000);

/** Where, as a share of the text; how many characters go; what comes instead. */
const edit = fc.tuple(
  fc.double({ min: 0, max: 1, noNaN: true }),
  fc.integer({ min: 0, max: 3 }),
  fc.constantFrom(
    ..." :-#[]{},'\"\n*&!|>?%@`~./a1\\".split(""),
    "",
    "\n",
    "\n  ",
    "\n---\n",
    ": ",
    "- ",
    " #",
    "null",
    "  ",
    "1",
    "\t",
    "...",
  ),
);

const key = fc.oneof(
  { weight: 20, arbitrary: fc.constantFrom("a", "b", "kind", "from", "x-y", "istio.io/z", "conditions", "n") },
  fc.constantFrom("true", "1", '"q"'),
);
const word = fc.oneof(
  {
    weight: 40,
    arbitrary: fc.constantFrom("a", "GET", "/x/*", "10.0.0.1/8", "a:b", "a*", "e1", "10.0.0.1", "x.y_z-1"),
  },
  fc.constantFrom("a[b]", "x/{*}", "10.0", "1", "*", "true", "null", "-a", "a b", "~", "1e3", "0x1"),
);
const scalar = fc.oneof(
  { weight: 3, arbitrary: word },
  word.map((text) => `"${text}"`),
  fc.constantFrom("'a b'", "'/x/{**}'", '"a: b"', '"# no"', "''", '""'),
);
/** Mostly not the same key twice. */
const different = (name: string, i: number): string => (i === 0 || name === "conditions" ? name : `${name}${i}`);
const gap = fc.constantFrom("", "", " ", "  ");
const tail = fc.constantFrom("", "", "", " ", " # c", "  #");
const { flow } = fc.letrec<{ flow: string }>((tie) => ({
  flow: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    scalar,
    fc
      .tuple(fc.array(tie("flow"), { maxLength: 3 }), gap)
      .map(([items, space]) => `[${space}${items.join(`,${space}`)}${space}]`),
    fc
      .tuple(fc.array(fc.tuple(key, tie("flow")), { maxLength: 3 }), gap)
      .map(
        ([pairs, space]) =>
          `{${space}${pairs.map(([name, value], i) => `${different(name, i)}: ${value}`).join(", ")}${space}}`,
      ),
  ),
}));

/** Lines of a block without their indentation; the first may stand behind a dash. */
const { block } = fc.letrec<{ block: readonly string[] }>((tie) => ({
  block: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    fc
      .array(fc.tuple(key, flow, tail), { minLength: 1, maxLength: 3 })
      .map((entries) => entries.map(([name, value, end], i) => `${different(name, i)}: ${value}${end}`)),
    fc
      .array(fc.tuple(key, tie("block"), fc.constantFrom(0, 1, 2, 4), tail), { minLength: 1, maxLength: 3 })
      .map((entries) =>
        entries.flatMap(([name, lines, indent, end], i) => [
          `${different(name, i)}:${end}`,
          ...lines.map((line) => " ".repeat(indent) + line),
        ]),
      ),
    fc
      .array(
        fc.tuple(
          fc.oneof(
            tie("block"),
            flow.map((text) => [text]),
          ),
          fc.constantFrom(1, 1, 3),
        ),
        {
          minLength: 1,
          maxLength: 3,
        },
      )
      .map((items) =>
        items.flatMap(([lines, space]) =>
          lines.map((line, i) => (i === 0 ? `-${" ".repeat(space)}${line}` : " ".repeat(space + 1) + line)),
        ),
      ),
    fc.tuple(fc.constantFrom("# what", "", "   ", "  # why"), tie("block")).map(([line, lines]) => [...lines, line]),
  ),
}));
const documents = fc
  .array(block, { minLength: 1, maxLength: 3 })
  .map((blocks) => blocks.map((lines) => `${lines.join("\n")}\n`).join("---\n"));

describe("simple YAML", () => {
  const read = POLICY.replace('"istio.io/dry-run"', "istio.io/dry-run").replace("  -\n    to: []", "  - to: []");

  it("is read as the library reads it, with every place", () => {
    const values = simple(read);
    expect(values).toHaveLength(3);
    expect(values).toEqual(byLibrary(read));
  });

  it.each([
    ["an anchor", "a: &x b"],
    ["an alias", "a: *x"],
    ["a tag", "a: !!str b"],
    ["a block scalar", "a: |\n  b"],
    ["a number", "a: 1"],
    ["a float", "a: 1.5"],
    ["a boolean", "a: true"],
    ["a null", "a: null"],
    ["nothing after a key", "a:\nb: c"],
    ["nothing after a key at the end", "a:"],
    ["nothing after a dash", "-\n- a"],
    ["an escape", 'a: "\\n"'],
    ["a doubled apostrophe", "a: 'it''s'"],
    ["a text of two lines", "a: b\n  c"],
    ["a quoted text of two lines", 'a: "b\n  c"'],
    ["a list of two lines", "a: [b,\n  c]"],
    ["a quoted key", '"a": b'],
    ["a key that is a word", "true: b"],
    ["the same key twice", "a: b\na: c"],
    ["the same key twice in a flow mapping", "{ a: b, a: c }"],
    ["a pair in a list", "- [a: b]"],
    ["a key without a space", "- {a:b}"],
    ["a question mark", "? a\n: b"],
    ["a directive", "%YAML 1.2\n---\na: b"],
    ["an end of a document", "a: b\n..."],
    ["a text behind a marker", "--- a: b"],
    ["a tab", "a:\tb"],
    ["a carriage return", "a: b\r\n"],
    ["a byte order mark", "\ufeffa: b"],
    ["other letters", "a: ä"],
    ["a scalar alone", "a"],
    ["nothing at all", "# nothing\n"],
    ["a mapping that is set in", "  a: b"],
    ["a line that belongs nowhere", "a:\n    b: c\n  d: e"],
    ["a mapping behind a list", "a:\n  - b\n  c: d"],
    ["nested keys on one line", "a: b: c"],
    ["a comment right behind a text", "a: b#c"],
    ["a comment right behind a list", "a: [b]#c"],
    ["a merge", "<<: { a: b }"],
    ["a trailing comma", "a: [b, ]"],
    ["very deep lists", `a: ${"[".repeat(40)}${"]".repeat(40)}`],
  ])("leaves %s to the library", (_, text) => expect(simple(text)).toBeUndefined());

  it("is read as the library reads it, however it is written and wherever it is broken", () => {
    let count = 0;
    fc.assert(
      fc.property(documents, fc.array(edit, { maxLength: 2 }), (text, edits) => {
        const edited = edits.reduce((all, [at, removed, added]) => {
          const from = Math.floor(at * all.length);
          return all.slice(0, from) + added + all.slice(from + removed);
        }, text);
        const values = simple(edited);
        if (values === undefined) return;
        count++;
        expect(values).toEqual(byLibrary(edited));
      }),
      { numRuns: RUNS },
    );
    expect(count / RUNS).toBeGreaterThan(0.1);
  });
});
