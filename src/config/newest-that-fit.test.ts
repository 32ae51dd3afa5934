import { expect, it } from "vitest";
import { CountersignError, CountersignErrors } from "../core/errors.ts";
import { newestThatFit } from "./newest-that-fit.ts";
import type { PolicyCandidates, PolicyOffer } from "./policy-set-source.ts";

interface Source extends PolicyCandidates {
  readonly heard: string[];
}

/** Texts of one source; `lastGood` undefined: none. */
function source(name: string, newest: string, lastGood: string | undefined = newest): Source {
  const heard: string[] = [];
  const offer = (text: string): PolicyOffer => ({
    files: [{ file: name, text }],
    accept: () => void heard.push(`${text} accepted`),
    refuse: ({ errors }) => void heard.push(`${text} refused: ${errors.map(({ message }) => message).join()}`),
  });
  return { newest: offer(newest), lastGood: lastGood === undefined ? undefined : offer(lastGood), heard };
}
const without = (name: string, newest: string): Source => ({ ...source(name, newest), lastGood: undefined });

/** Valid is what does not have one of these sets together. */
function compiler(...bad: readonly (readonly string[])[]) {
  const asked: string[] = [];
  const compile = (files: readonly { readonly text: string }[]): Promise<string> => {
    const texts = files.map(({ text }) => text);
    asked.push(texts.join("+"));
    const found = bad.find((one) => one.every((text) => texts.includes(text)));
    if (found === undefined) return Promise.resolve(texts.join("+"));
    return Promise.reject(new CountersignErrors([new CountersignError("E_POLICY_TYPE", found.join(" with "))]));
  };
  return { asked, compile };
}

it.each<[string, Source[], string[][], string, string[], number]>([
  [
    "all the newest, if they fit",
    [source("a", "a2", "a1"), source("b", "b2", "b1")],
    [],
    "a2+b2",
    ["a2 accepted", "b2 accepted"],
    1,
  ],
  [
    "not what is invalid, and what is newer elsewhere all the same",
    [source("a", "a2", "a1"), source("b", "bad", "b1"), source("c", "c2", "c1")],
    [["bad"]],
    "a2+b1+c2",
    ["a2 accepted", "b1 accepted", "bad refused: bad", "c2 accepted"],
    4,
  ],
  [
    "the last good ones, when the only change is invalid",
    [source("a", "a1"), source("b", "bad", "b1")],
    [["bad"]],
    "a1+b1",
    ["a1 accepted", "b1 accepted", "bad refused: bad"],
    2,
  ],
  [
    "the first of two that do not fit each other",
    [source("a", "a2", "a1"), source("b", "b2", "b1")],
    [["a2", "b2"]],
    "a2+b1",
    ["a2 accepted", "b1 accepted", "b2 refused: a2 with b2"],
    3,
  ],
  [
    "two that only fit together",
    [source("a", "a2", "a1"), source("b", "b2", "b1")],
    [
      ["a2", "b1"],
      ["a1", "b2"],
    ],
    "a2+b2",
    ["a2 accepted", "b2 accepted"],
    1,
  ],
  [
    "the kept set of one, at a start, beside files that have none",
    [without("files", "f"), source("b", "bad", "b1")],
    [["bad"]],
    "f+b1",
    ["f accepted", "b1 accepted", "bad refused: bad"],
    2,
  ],
])("takes %s", async (_, sources, bad, expected, heard, compiled) => {
  const { asked, compile } = compiler(...bad);
  const choice = await newestThatFit(sources, compile);
  expect(choice.compiled).toBe(expected);
  expect(choice.files.map(({ text }) => text).join("+")).toBe(expected);
  expect(choice.isHeldBack).toBe(heard.some((text) => text.includes("refused")));
  expect(asked).toHaveLength(compiled);
  expect(sources.flatMap((one) => one.heard)).toEqual([]);
  choice.settle();
  expect(sources.flatMap((one) => one.heard)).toEqual(heard);
});

it.each<[string, Source[], string[][]]>([
  ["files that have nothing to fall back to", [without("files", "bad"), source("b", "b2", "b1")], [["bad"]]],
  ["sets that have not changed", [source("a", "bad"), source("b", "b1")], [["bad"]]],
  ["a last good set that no longer fits", [source("a", "bad", "bad2")], [["bad"], ["bad2"]]],
])("takes nothing of %s, and says what is wrong with the newest", async (_, sources, bad) => {
  await expect(newestThatFit(sources, compiler(...bad).compile)).rejects.toMatchObject({
    errors: [{ message: "bad" }],
  });
  expect(sources.flatMap((one) => one.heard)).toEqual([]);
});

it("lets anything but errors of policies through", async () => {
  const lost = new TypeError("lost");
  await expect(newestThatFit([source("a", "a2", "a1")], () => Promise.reject(lost))).rejects.toBe(lost);
});
