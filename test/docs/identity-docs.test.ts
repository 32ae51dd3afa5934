import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { federationCodes } from "../../src/core/codes/federation-codes.ts";
import { identityCodes } from "../../src/core/codes/identity-codes.ts";
import { issuerCodes } from "../../src/core/codes/issuer-codes.ts";
import { jwtSvidCodes } from "../../src/core/codes/jwt-svid-codes.ts";

const page = readFileSync(join(import.meta.dirname, "..", "..", "docs", "identity.md"), "utf8");

test("docs/identity.md says of each code of identity what it means, once, and of no other", () => {
  const rows = page.split("\n").filter((line) => line.startsWith("| `E_"));
  const explained = rows.flatMap((row) => row.split("|")[1]?.match(/E_[A-Z0-9_]+/g) ?? []);
  const codes = [identityCodes, jwtSvidCodes, federationCodes, issuerCodes].flatMap((part) => Object.keys(part));
  expect(explained.toSorted()).toEqual(codes.toSorted());
});
