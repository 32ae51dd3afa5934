import { expect, test } from "vitest";
import { federationUrlProblem } from "./federation.ts";

test.each([
  ["https://partner.org/bundle", undefined],
  ["https://partner.org:8443/a/b?c=d", undefined],
  ["https://[::1]:8443/", undefined],
  ["http://partner.org/bundle", "is not https"],
  ["file:///bundle.json", "is not https"],
  ["https://user@partner.org/", "has a user or password in it"],
  ["https://:secret@partner.org/", "has a user or password in it"],
  ["https://partner.org/#x", "has a fragment"],
  ["partner.org/bundle", "is no URL"],
  ["", "is no URL"],
])("%s: %s", (url, problem) => {
  expect(federationUrlProblem(url)).toBe(problem);
});
