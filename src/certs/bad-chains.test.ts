import { describe, expect, test } from "vitest";
import { badChains } from "../../test/support/chain-tables.ts";
import { bundles, nowMs } from "../../test/support/peer-chains.ts";
import { verifyPeerChain } from "./verify-peer.ts";

describe("a bad chain is refused with its own code", () => {
  test.each(badChains)("%s: %s", (_what, code, make) => {
    const verdict = verifyPeerChain(make(), bundles, nowMs);
    expect(verdict).toMatchObject({ kind: "refused", code });
    if (verdict.kind === "refused") expect(verdict.reason).toMatch(/^[\x20-\x7e]{10,400}$/);
  });
});
