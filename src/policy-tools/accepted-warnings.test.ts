import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type { Warning } from "../core/errors.ts";
import { judgeWarnings, POLICY_WARNINGS } from "./accepted-warnings.ts";

const at = (line: number, code: Warning["code"], file = "p.yaml"): Warning => ({
  code,
  message: "m",
  at: { file, line, column: 3 },
});

function judge(text: string, ...warnings: readonly Warning[]) {
  const { warnings: left, accepted, idle } = judgeWarnings([{ file: "p.yaml", text }], warnings);
  const shown = ({ code, at: place, message, fix }: Warning) =>
    code === "W_POLICY_ACCEPT" ? `${place?.line}:${place?.column} ${message}; ${fix}` : `${place?.line} ${code}`;
  return {
    left: left.map(shown),
    accepted: accepted.map(({ warning, why }) => `${shown(warning)}: ${why}`),
    idle: idle.map(({ at: place, message }) => `${place.line}:${place.column} ${message}`),
  };
}

const BROAD = "# countersign-lint: accept W_POLICY_BROAD it is public";

describe("a comment accepts a warning", () => {
  it.each<[string, string, number]>([
    ["on its line", `a: b\nc: d ${BROAD}\n`, 2],
    ["on the line above", `a: b\n${BROAD}\nc: d\n`, 3],
    ["above other comments and empty lines", `a: b\n${BROAD}\n\n# more\nc: d\n`, 5],
    ["of a list", `a: b\nc:\n  ${BROAD}\n  - d\n`, 4],
    ["behind a text that has a #", `a: b\nc: "#" ${BROAD}\n`, 2],
    ["in a file with a byte order mark and CRLF", `\ufeffa: b\r\n${BROAD}\r\nc: d\r\n`, 3],
    ["anywhere in the document, above whose first line it stands", `${BROAD}\na: b\nc: d\ne:\n  - f\n`, 5],
    ["anywhere in a later document", `a: b\n---\n${BROAD}\na: b\nc: d\n`, 5],
    ["behind the mark of a document", `a: b\n--- ${BROAD}\na: b\nc: d\n`, 4],
  ])("%s", (_, text, line) => {
    expect(judge(text, at(line, "W_POLICY_BROAD"))).toEqual({
      left: [],
      accepted: [`${line} W_POLICY_BROAD: it is public`],
      idle: [],
    });
  });

  it.each<[string, string, Warning]>([
    ["of another code", `a: b\nc: d ${BROAD}\n`, at(2, "W_POLICY_TWO_ITEMS")],
    ["on another line", `a: b\nc: d ${BROAD}\ne: f\n`, at(3, "W_POLICY_BROAD")],
    ["of another document", `${BROAD}\na: b\n---\nc: d\n`, at(4, "W_POLICY_BROAD")],
    ["of another file", `a: b ${BROAD}\n`, at(1, "W_POLICY_BROAD", "q.yaml")],
  ])("but none %s, and says that it accepts none", (_, text, warning) => {
    const { left, accepted } = judge(text, warning);
    expect([left[0], accepted]).toEqual([`${warning.at?.line} ${warning.code}`, []]);
    expect(left[1]).toContain("W_POLICY_BROAD is accepted where there is none; remove the comment");
  });

  it.each<[string, string]>([
    ["within a text", `a: "${BROAD}"\n`],
    ["within a block", `a: |\n  ${BROAD}\n`],
    ["about something else", "a: b # see countersign-lint\n"],
  ])("and is none %s", (_, text) => {
    expect(judge(text, at(1, "W_POLICY_BROAD"))).toEqual({ left: ["1 W_POLICY_BROAD"], accepted: [], idle: [] });
  });

  it("accepts several of its code with one comment, and two codes with two", () => {
    const text = `a: b\n# countersign-lint: accept W_POLICY_TWO_ITEMS either\n${BROAD}\nc: d\n`;
    const warnings = [at(4, "W_POLICY_BROAD"), at(4, "W_POLICY_BROAD"), at(4, "W_POLICY_TWO_ITEMS")];
    const { left, accepted } = judge(text, ...warnings);
    expect([left, accepted.length]).toEqual([[], 3]);
  });
});

it.each<[string, string, string]>([
  ["without a reason", "accept W_POLICY_BROAD", '"W_POLICY_BROAD" is accepted without a reason; say why behind it'],
  [
    "with a code that does not exist",
    "accept W_POLICY_BRAOD why",
    'no warning that lint has; did you mean "W_POLICY_BROAD"?',
  ],
  ["of an error", "accept E_POLICY_EMPTY why", "is an error, which no comment accepts; correct it"],
  ["of itself", "accept W_POLICY_ACCEPT why", "no warning that lint has"],
  [
    "that says something else",
    "ignore W_POLICY_BROAD",
    "says nothing that is known; write # countersign-lint: accept W_POLICY_… why",
  ],
])("a comment %s is a warning itself", (_, says, expected) => {
  const { left, accepted } = judge(`a: b\nc: d # countersign-lint: ${says}\n`, at(2, "W_POLICY_BROAD"));
  expect([left, accepted]).toEqual([["2 W_POLICY_BROAD", expect.stringContaining(expected)], []]);
  expect(left[1]).toMatch(/^2:6 /);
});

it("only notes a comment without a warning that another workload may have", () => {
  const text = "# countersign-lint: accept W_POLICY_SELECTOR for the workloads of shop\na: b\n";
  expect(judge(text)).toEqual({
    left: [],
    accepted: [],
    idle: ["1:1 W_POLICY_SELECTOR is accepted where there is none"],
  });
});

it("knows every warning of policies", () => {
  const rooms = ["../authz", "."].map((room) => join(import.meta.dirname, room));
  const named = rooms.flatMap((room) =>
    readdirSync(room)
      .filter((file) => file.endsWith(".ts") && !/\.test\.ts$|^accepted-warnings\.ts$/.test(file))
      .flatMap((file) => readFileSync(join(room, file), "utf8").match(/\bW_POLICY_[A-Z_]*[A-Z]\b/g) ?? []),
  );
  expect([...new Set(named)].toSorted()).toEqual([...POLICY_WARNINGS.keys()].toSorted());
});
