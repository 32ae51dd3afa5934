import { expect, it } from "vitest";
import { CountersignError, CountersignErrors, type Warning } from "../core/errors.ts";
import { createLogger } from "../telemetry/logger.ts";
import { loggedErrors, logPolicyWarnings } from "./log-findings.ts";

function saidOf(count: number): readonly Record<string, unknown>[] {
  const lines: Record<string, unknown>[] = [];
  const log = createLogger("info", { write: (line) => lines.push(JSON.parse(line) as Record<string, unknown>) });
  const warnings = Array.from(
    { length: count },
    (_, i): Warning => ({ code: "W_POLICY_SHADOWED", message: `rule ${i}`, at: { file: "p.yaml", line: i + 1 } }),
  );
  logPolicyWarnings(log, warnings);
  return lines;
}

it("has a line for each warning", () => {
  const lines = saidOf(100);
  expect(lines).toHaveLength(100);
  expect(lines[99]).toMatchObject({ event: "policy.warning", code: "W_POLICY_SHADOWED" });
  expect(lines[99]?.["msg"]).toContain("rule 99");
});

it("counts the warnings of a generated set instead", () => {
  const lines = saidOf(10_000);
  expect(lines).toHaveLength(101);
  expect(lines[100]).toMatchObject({ event: "policy.warning", more: 9_900 });
  expect(lines[100]?.["msg"]).toBe("9900 more warnings: countersign policy lint names all of them");
});

it("puts at most a hundred errors into a line, and how many more there are", () => {
  const errors = (count: number) =>
    new CountersignErrors(Array.from({ length: count }, (_, i) => new CountersignError("E_POLICY_EMPTY", `no ${i}`)));
  expect(loggedErrors(errors(100))).toHaveLength(100);
  expect(loggedErrors(errors(103))).toHaveLength(101);
  expect(loggedErrors(errors(103))[100]).toBe("3 more errors: countersign check names all of them");
});
