import { join } from "node:path";
import { expect, type TestContext } from "vitest";
import { succeeds, temporaryFolder } from "./issuer-process.ts";

const source = join(import.meta.dirname, "go-spiffe");

/** Builds the go-spiffe program into a folder of the test's own, or skips the test and says what to install. */
export function buildGoClient(test: TestContext): { readonly folder: string; readonly client: string } {
  test.skip(!succeeds("go", ["version"]), "install Go 1.24 or later (https://go.dev/dl) to run it");
  test.skip(!succeeds("go", ["mod", "download"], source), "the modules of test/interop/go-spiffe cannot be downloaded");
  const folder = temporaryFolder();
  test.onTestFinished(() => folder.remove());
  const client = join(folder.path, "go-client");
  expect(succeeds("go", ["build", "-o", client, "."], source)).toBe(true);
  return { folder: folder.path, client };
}
