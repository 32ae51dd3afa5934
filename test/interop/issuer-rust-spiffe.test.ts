import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { expectWorkloadApi } from "./expected-steps.ts";
import { belowAnotherCa, runClient, startIssuerProcess, succeeds, temporaryFolder } from "./issuer-process.ts";

const source = join(import.meta.dirname, "rust-spiffe");

it("the issuer serves the Rust crate spiffe: SVIDs, three rotations, bundles, JWT-SVIDs, sources", async (test) => {
  test.skip(!succeeds("cargo", ["--version"]), "install Rust 1.88 or later with cargo (https://rustup.rs) to run it");
  const fetched = succeeds("cargo", ["fetch", "--locked"], source);
  test.skip(!fetched, "the crates of test/interop/rust-spiffe cannot be downloaded");
  const folder = temporaryFolder();
  test.onTestFinished(() => folder.remove());
  const target = join(folder.path, "target");
  const built = succeeds("cargo", ["build", "--quiet", "--locked", "--offline", "--target-dir", target], source);
  expect(built).toBe(true);

  for (const [i, more] of [() => "", belowAnotherCa].entries()) {
    const state = join(folder.path, `issuer-${i}`);
    mkdirSync(state);
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    const issuer = await startIssuerProcess(
      state,
      `[{ id: spiffe://example.org/ns/shop/sa/orders, selectors: ["unix:uid:${process.getuid?.()}"], hint: internal }]`,
      more(state),
    );
    test.onTestFinished(async () => void (await issuer.stop()));
    const steps = await runClient(join(target, "debug", "rust-spiffe"), [], issuer.address);
    expectWorkloadApi(steps, ["spiffe://example.org/ns/shop/sa/orders"]);
    expect(steps.get("x509")).toMatchObject({ hints: ["internal"] });
    expect(await issuer.stop()).toBe(0);
  }
});
