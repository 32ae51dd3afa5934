import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { type Command, Option } from "commander";
import type { BundleView } from "../certs/issuer/admin-pages.ts";
import { CountersignError } from "../core/errors.ts";
import { asciiJson, printable } from "../core/safe-text.ts";
import { parseTrustDomain } from "../core/spiffe-id.ts";
import type { CliIo } from "./cli-io.ts";
import { askIssuer } from "./issuer-admin-client.ts";
import { adminSocketOf, loadIssuer, type SocketOptions } from "./issuer-file.ts";

interface ShowOptions extends SocketOptions {
  readonly format: "pem" | "jwks";
}

interface ListOptions extends SocketOptions {
  readonly json?: true;
}

/** Adds `bundle show | list | set | remove` to the issuer's command. `finish` takes the exit code. */
export function defineBundle(parent: Command, io: CliIo, finish: (code: number) => void): void {
  const bundle = parent.command("bundle").description("what verifiers must trust (default: show)");
  const socketOptions = (command: Command): Command =>
    command
      .option("-c, --config <file>", "issuer.yaml")
      .option("--admin <address>", "the running issuer's admin socket");
  bundle
    .command("show", { isDefault: true })
    .description("the trust domain's own bundle, from the state folder")
    .requiredOption("-c, --config <file>", "issuer.yaml")
    .addOption(
      new Option("--format <format>", "PEM certificates, or a SPIFFE bundle with JWT keys")
        .choices(["pem", "jwks"])
        .default("pem"),
    )
    .action(async ({ config, format }: ShowOptions) => finish(await show(config ?? "", format, io)));
  socketOptions(bundle.command("list"))
    .option("--json", "as JSON")
    .description("bundles of other trust domains: from where, how old, what is wrong")
    .action(async (options: ListOptions) => finish(await list(options, io)));
  socketOptions(bundle.command("set"))
    .argument("<domain>", "trust domain that federatesWith does not name")
    .argument("<file>", "its bundle: SPIFFE JSON or PEM")
    .description("give the running issuer a bundle by hand; it stays over restarts")
    .action(async (domain: string, file: string, options: SocketOptions) =>
      finish(await set(domain, file, options, io)),
    );
  socketOptions(bundle.command("remove"))
    .argument("<domain>")
    .description("take away a bundle that was set by hand")
    .action(async (domain: string, options: SocketOptions) => finish(await remove(domain, options, io)));
}

async function show(file: string, format: "pem" | "jwks", io: CliIo): Promise<number> {
  const loaded = await loadIssuer(file, io);
  if (loaded === undefined) return 2;
  const [{ readState }, { spiffeBundleJson, x509BundlePem, withoutExpired }] = await Promise.all([
    import("../certs/issuer/state-store.ts"),
    import("../certs/issuer/trust-bundle.ts"),
  ]);
  const { stateFolder, trustDomain } = loaded.config;
  const authorities = withoutExpired(readState(stateFolder, trustDomain), Date.now());
  io.out(format === "pem" ? x509BundlePem(authorities) : `${spiffeBundleJson(authorities)}\n`);
  return 0;
}

async function list(options: ListOptions, io: CliIo): Promise<number> {
  const socket = await adminSocketOf(options, io);
  if (socket === undefined) return 2;
  const { bundles } = (await askIssuer(socket, "GET", "/bundles")) as { readonly bundles: readonly BundleView[] };
  if (options.json === true) {
    io.out(`${asciiJson(JSON.stringify({ bundles }, undefined, 2))}\n`);
    return 0;
  }
  for (const { trustDomain, source, url, sequence, x509Authorities, jwtAuthorities, ageSeconds, problem } of bundles) {
    const parts = [trustDomain, source === "set" ? "set by hand" : `from ${url}`];
    parts.push(ageSeconds === undefined ? "never fetched" : `${ageSeconds} s old`);
    if (sequence !== undefined) parts.push(`sequence ${sequence}`);
    parts.push(`${x509Authorities} X.509 and ${jwtAuthorities} JWT authorities`);
    if (problem !== undefined) parts.push(`PROBLEM: ${problem.code} ${problem.message}`);
    io.out(`${printable(parts.join("  "))}\n`);
  }
  return 0;
}

async function set(domain: string, file: string, options: SocketOptions, io: CliIo): Promise<number> {
  const trustDomain = parseTrustDomain(domain);
  let document: string;
  try {
    document = readFileSync(resolve(io.cwd, file), "utf8");
  } catch (cause) {
    const code = String((cause as { readonly code?: unknown }).code);
    throw new CountersignError("E_IDENTITY_FILE", `${file} cannot be read (${code})`, { cause });
  }
  const socket = await adminSocketOf(options, io);
  if (socket === undefined) return 2;
  await askIssuer(socket, "PUT", `/bundles/${trustDomain}`, document);
  io.out(`the bundle of ${trustDomain} is set\n`);
  return 0;
}

async function remove(domain: string, options: SocketOptions, io: CliIo): Promise<number> {
  const trustDomain = parseTrustDomain(domain);
  const socket = await adminSocketOf(options, io);
  if (socket === undefined) return 2;
  await askIssuer(socket, "DELETE", `/bundles/${trustDomain}`);
  io.out(`the bundle of ${trustDomain} is removed\n`);
  return 0;
}
