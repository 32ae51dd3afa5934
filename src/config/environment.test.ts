// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the subject of these tests
import { describe, expect, it } from "vitest";
import { expandEnvironment } from "./environment.ts";

const environment = { HOME: "/home/app", EMPTY: "", NESTED: "${HOME}" };

describe("expandEnvironment", () => {
  it.each([
    ["no variable at all", "no variable at all"],
    ["${HOME}/x", "/home/app/x"],
    ["${HOME}${HOME}", "/home/app/home/app"],
    ["${MISSING:-a b}", "a b"],
    ["${MISSING:-}", ""],
    ["${EMPTY:-fallback}", "fallback"],
    ["${EMPTY}", ""],
    ["${HOME:-fallback}", "/home/app"],
    ["$${HOME}", "${HOME}"],
    ["$$${HOME}", "$${HOME}"],
    ["a $ b $5", "a $ b $5"],
    ["${NESTED}", "${HOME}"],
  ])("expands %j to %j", (text, expanded) => {
    expect(expandEnvironment(text, environment)).toEqual({ text: expanded, problems: [] });
  });

  it("names every variable that is missing", () => {
    const { problems } = expandEnvironment("${ONE}-${HOME}-${TWO}", environment);
    expect(problems.map(({ message }) => message)).toEqual([
      "needs the environment variable ONE, which is not set",
      "needs the environment variable TWO, which is not set",
    ]);
    expect(problems[0]?.fix).toBe("set ONE, or write ${ONE:-default}");
  });

  it.each(["${", "${}", "${1A}", "${A-b}", "${A B}", "x ${HOME"])("refuses %j", (text) => {
    expect(expandEnvironment(text, environment).problems).toHaveLength(1);
  });

  it("does not take a property of Object for a variable", () => {
    expect(expandEnvironment("${constructor}", {}).problems).toHaveLength(1);
  });
});
