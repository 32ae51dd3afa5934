import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { createTestCa } from "../support/cert-factory.ts";

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

/** `entries` is the YAML list in flow style; `more` further lines of issuer.yaml. SVIDs rotate every second. */
export async function startIssuerProcess(folder: string, entries: string, more = ""): Promise<IssuerProcess> {
  const config = join(folder, "issuer.yaml");
  const address = `unix://${folder}/sock/issuer.sock`;
  writeFileSync(
    config,
    `trustDomain: example.org\nsocket: ${address}\nstate: state\nsvidRotation: 1s\ndevelopment: true\nentries: ${entries}\n${more}\n`,
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

/** Lines of issuer.yaml for a CA above the issuer's, of RSA and with one between, and for JWT-SVIDs signed with RS256. */
export function belowAnotherCa(folder: string): string {
  const root = createTestCa("example.org", { keyType: "RSA-2048", notAfter: Date.now() + 100 * 24 * 3_600_000 });
  const between = root.intermediate({ keyType: "P-384", notAfter: Date.now() + 90 * 24 * 3_600_000 });
  writeFileSync(join(folder, "upstream.pem"), between.chainPem + root.bundlePem);
  writeFileSync(join(folder, "upstream.key"), between.keyPem, { mode: 0o600 });
  return "upstreamAuthority: { certificate: upstream.pem, key: upstream.key }\njwtKeyType: rsa-2048";
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
