import { join } from "node:path";
import { expect, it } from "vitest";
import { expectWorkloadApi } from "./expected-steps.ts";
import { runClient, startIssuerProcess, succeeds, temporaryFolder } from "./issuer-process.ts";

const PACKAGE = "spiffe==0.3.2";
const script = join(import.meta.dirname, "python-spiffe", "client.py");

it("the issuer serves the Python package spiffe: SVIDs, three rotations, bundles, JWT-SVIDs, sources", async (test) => {
  test.skip(!succeeds("python3", ["-m", "venv", "--help"]), "install Python 3.10 or later with venv to run it");
  const folder = temporaryFolder();
  test.onTestFinished(() => folder.remove());
  const venv = join(folder.path, "venv");
  // of its own: packages of the system's Python may not fit together with newer ones
  test.skip(!succeeds("python3", ["-m", "venv", venv]), "install python3-venv to run it");
  const python = join(venv, "bin", "python");
  const installed = succeeds(python, ["-m", "pip", "install", "--quiet", PACKAGE]);
  test.skip(!installed, `${PACKAGE} cannot be installed from PyPI`);

  const issuer = await startIssuerProcess(
    folder.path,
    `[{ id: spiffe://example.org/ns/shop/sa/orders, selectors: ["unix:uid:${process.getuid?.()}"] }]`,
  );
  test.onTestFinished(async () => void (await issuer.stop()));

  const steps = await runClient(python, [script], issuer.address);
  expectWorkloadApi(steps, ["spiffe://example.org/ns/shop/sa/orders"]);
  expect(steps.get("jwt")?.["wrongAudience"]).toContain("E_JWT_SVID_AUDIENCE");
  expect(await issuer.stop()).toBe(0);
});
