import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { expectWorkloadApi } from "./expected-steps.ts";
import { belowAnotherCa, runClient, startIssuerProcess, succeeds, temporaryFolder } from "./issuer-process.ts";

const source = join(import.meta.dirname, "java-spiffe");

it("the issuer serves java-spiffe: SVIDs, three rotations, bundles, JWT-SVIDs, sources", async (test) => {
  const hint = "install a JDK 17 or later and Maven (Debian: default-jdk-headless maven) to run it";
  test.skip(!succeeds("javac", ["--version"]) || !succeeds("mvn", ["--version"]), hint);
  const folder = temporaryFolder();
  test.onTestFinished(() => folder.remove());
  const libraries = join(folder.path, "lib");
  const copy = ["-q", "-B", "dependency:copy-dependencies", `-DoutputDirectory=${libraries}`];
  test.skip(!succeeds("mvn", copy, source), "java-spiffe cannot be downloaded from Maven Central");
  const classes = join(folder.path, "classes");
  expect(succeeds("javac", ["-cp", join(libraries, "*"), "-d", classes, join(source, "Client.java")])).toBe(true);

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
    const classPath = `${classes}:${join(libraries, "*")}`;
    const steps = await runClient("java", ["-cp", classPath, "Client"], issuer.address);
    expectWorkloadApi(steps, ["spiffe://example.org/ns/shop/sa/orders"]);
    expect(steps.get("x509")).toMatchObject({ hints: ["internal"] });
    expect(await issuer.stop()).toBe(0);
  }
});
