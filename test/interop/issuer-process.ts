import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";

const root = resolve(import.meta.dirname, "../..");

/** `countersign issuer run` as a process of its own, for clients in other languages. */
export interface IssuerProcess {
  /** For SPIFFE_ENDPOINT_SOCKET. */
  readonly address: string;
  /** Its log so far, a line each. */
  readonly log: readonly Record<string, unknown>[];
  stop(): Promise<number | null>;
}

export function temporaryFolder(): { readonly path: string; remove(): void } {
  const path = realpathSync(mkdtempSync(join(tmpdir(), "countersign-interop-")));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

/** `entries` is the YAML list in flow style. SVIDs rotate every second. */
export async function startIssuerProcess(folder: string, entries: string): Promise<IssuerProcess> {
  const config = join(folder, "issuer.yaml");
  const address = `unix://${folder}/sock/issuer.sock`;
  writeFileSync(
    config,
    `trustDomain: example.org\nsocket: ${address}\nstate: state\nsvidRotation: 1s\ndevelopment: true\nentries: ${entries}\n`,
  );
  const child = spawn(
    process.execPath,
    ["--disable-warning=ExperimentalWarning", "src/cli/main.ts", "issuer", "run", "-c", config],
    { cwd: root, stdio: ["ignore", "ignore", "pipe"] },
  );
  const log: Record<string, unknown>[] = [];
  await new Promise<void>((ready, failed) => {
    const lines = createInterface({ input: child.stderr });
    lines.on("line", (line) => {
      const fields = JSON.parse(line) as Record<string, unknown>;
      log.push(fields);
      if (fields["event"] === "ready") ready();
    });
    child.once("exit", () => failed(new Error(`the issuer ended: ${JSON.stringify(log)}`)));
  });
  return {
    address,
    log,
    async stop() {
      if (child.exitCode !== null) return child.exitCode;
      child.kill("SIGTERM");
      const [code] = (await once(child, "exit")) as [number | null];
      return code;
    },
  };
}

/** Runs a client to its end and returns its JSON lines by their `step`. Throws with its stderr when it fails. */
export async function runClient(
  command: string,
  args: readonly string[],
  address: string,
): Promise<ReadonlyMap<string, Record<string, unknown>>> {
  const child = spawn(command, args, {
    env: { ...process.env, SPIFFE_ENDPOINT_SOCKET: address },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let out = "";
  let err = "";
  child.stdout.on("data", (chunk: Buffer) => {
    out += chunk.toString();
  });
  child.stderr.on("data", (chunk: Buffer) => {
    err += chunk.toString();
  });
  const [code] = (await once(child, "close")) as [number | null];
  if (code !== 0) throw new Error(`${command} ended with ${code}\n${out}\n${err}`);
  return new Map(
    out
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as Record<string, unknown>)
      .map((fields) => [String(fields["step"]), fields]),
  );
}

/** Whether a command runs and succeeds. */
export function succeeds(command: string, args: readonly string[], cwd?: string): boolean {
  return spawnSync(command, args, { stdio: "ignore", cwd }).status === 0;
}
