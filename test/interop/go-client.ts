import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
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

/** A command of the Go program that serves until it is stopped. */
export interface GoServer {
  /** `ip:port`. */
  readonly address: string;
  stop(): Promise<void>;
}

export async function startGoServer(client: string, args: readonly string[], workloadApi: string): Promise<GoServer> {
  const child: ChildProcess = spawn(client, args, {
    env: { ...process.env, SPIFFE_ENDPOINT_SOCKET: workloadApi },
    stdio: ["ignore", "pipe", "inherit"],
  });
  if (child.stdout === null) throw new TypeError("the server's stdout is a pipe");
  const [line] = (await once(createInterface({ input: child.stdout }), "line")) as [string];
  return {
    address: (JSON.parse(line) as { readonly address: string }).address,
    async stop() {
      child.kill("SIGKILL");
      if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
    },
  };
}
