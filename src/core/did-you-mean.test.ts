import { expect, it } from "vitest";
import { didYouMean } from "./did-you-mean.ts";

const known = ["inbound", "outbound", "log", "limits", "timeouts", "trustDomainAliases", "warn"];

it.each([
  ["inbuond", "inbound"],
  ["lgo", "log"],
  ["limit", "limits"],
  ["timeOuts", "timeouts"],
  ["trust-domain-aliases", "trustDomainAliases"],
  ["trust_domain_alias", "trustDomainAliases"],
  ["warning", "warn"],
  ["x", undefined],
  ["", undefined],
  ["completely", undefined],
  ["l".repeat(100_000), undefined],
])("takes %.20j for %j", (word, meant) => {
  expect(didYouMean(word, known)).toBe(meant);
});
