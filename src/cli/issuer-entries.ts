import type { Command } from "commander";
import type { EntryView } from "../certs/issuer/admin-pages.ts";
import { entryIdOf } from "../certs/issuer/entries.ts";
import { entryJson } from "../certs/issuer/entry-json.ts";
import { CountersignError, formatError } from "../core/errors.ts";
import { asciiJson, printable } from "../core/safe-text.ts";
import type { CliIo } from "./cli-io.ts";
import { askIssuer } from "./issuer-admin-client.ts";
import { adminSocketOf, loadIssuer, type SocketOptions } from "./issuer-file.ts";

interface ListOptions extends SocketOptions {
  readonly json?: true;
}

interface AddOptions extends SocketOptions {
  readonly json?: true;
  readonly spiffeId: string;
  readonly selector: readonly string[];
  readonly hint?: string;
  readonly svidTtl?: string;
  readonly jwtTtl?: string;
  readonly federatesWith?: readonly string[];
}

/** Adds `entries list | add | remove` to the issuer's command. `finish` takes the exit code. */
export function defineEntries(parent: Command, io: CliIo, finish: (code: number) => void): void {
  const entries = parent.command("entries").description("who gets which SPIFFE ID (default: list)");
  const socketOptions = (command: Command): Command =>
    command
      .option("-c, --config <file>", "issuer.yaml")
      .option("--admin <address>", "the running issuer's admin socket")
      .option("--json", "as JSON");
  socketOptions(entries.command("list", { isDefault: true }))
    .description("those in force: asked of the running issuer, else as the file has them")
    .action(async (options: ListOptions) => finish(await list(options, io)));
  socketOptions(entries.command("add"))
    .description("add one to the running issuer; it stays over restarts")
    .requiredOption("--id, --spiffe-id <id>", "the SPIFFE ID that is issued")
    .requiredOption("--selector <selector...>", "unix:uid:1001, unix:gid:…, unix:path:…, unix:sha256:…; all must hold")
    .option("--hint <hint>", "tells a workload's several SVIDs apart")
    .option("--svid-ttl <duration>", "life of its X.509-SVIDs: 30m")
    .option("--jwt-ttl <duration>", "life of its JWT-SVIDs: 5m")
    .option("--federates-with <domain...>", "trust domains whose bundles it gets; default: all")
    .action(async (options: AddOptions) => finish(await add(options, io)));
  socketOptions(entries.command("remove"))
    .argument("<entry>", "entry ID, or the SPIFFE ID if only one added entry has it")
    .description("remove one that was added to the running issuer")
    .action(async (entry: string, options: ListOptions) => finish(await remove(entry, options, io)));
}

async function list(options: ListOptions, io: CliIo): Promise<number> {
  const entries = await listed(options, io);
  if (entries === undefined) return 2;
  print(entries, options.json === true, io, { entries });
  return 0;
}

/** undefined: wrong usage, which is printed. */
async function listed(options: ListOptions, io: CliIo): Promise<readonly EntryView[] | undefined> {
  if (options.admin !== undefined || options.config === undefined) {
    const socket = await adminSocketOf(options, io);
    return socket === undefined ? undefined : entriesAt(socket);
  }
  const loaded = await loadIssuer(options.config, io);
  if (loaded === undefined) return undefined;
  for (const warning of loaded.warnings) io.err(`${formatError(warning)}\n`);
  const { adminPath, entries } = loaded.config;
  if (adminPath !== undefined) {
    try {
      return await entriesAt(adminPath);
    } catch (error) {
      if (!(error instanceof CountersignError) || error.code !== "E_ISSUER_ADMIN") throw error;
      io.err("the issuer does not run, or cannot be asked: these are the file's entries\n");
    }
  }
  return entries.map((entry) => ({ entryId: entryIdOf(entry), source: "file", ...entryJson(entry) }));
}

async function entriesAt(socket: string): Promise<readonly EntryView[]> {
  const answer = (await askIssuer(socket, "GET", "/entries")) as { readonly entries: readonly EntryView[] };
  return answer.entries;
}

async function add(options: AddOptions, io: CliIo): Promise<number> {
  const socket = await adminSocketOf(options, io);
  if (socket === undefined) return 2;
  const { spiffeId, selector, hint, svidTtl, jwtTtl, federatesWith } = options;
  const entry = { id: spiffeId, selectors: selector, hint, svidTtl, jwtTtl, federatesWith };
  const answer = (await askIssuer(socket, "POST", "/entries", JSON.stringify(entry))) as {
    readonly entry: EntryView;
    readonly warnings: readonly string[];
  };
  for (const warning of answer.warnings) io.err(`${printable(warning)}\n`);
  print([answer.entry], options.json === true, io, { entry: answer.entry });
  return 0;
}

async function remove(name: string, options: ListOptions, io: CliIo): Promise<number> {
  const socket = await adminSocketOf(options, io);
  if (socket === undefined) return 2;
  let entryId = name;
  if (name.startsWith("spiffe://")) {
    const found = (await entriesAt(socket)).filter(({ id, source }) => id === name && source === "added");
    if (found.length > 1) {
      const ids = found.map((one) => one.entryId).join(", ");
      throw new CountersignError("E_ISSUER_ENTRY", `several added entries have ${name}`, { fix: `name one of ${ids}` });
    }
    entryId = found[0]?.entryId ?? "";
    if (entryId === "") throw new CountersignError("E_ISSUER_ENTRY", `no added entry has ${printable(name)}`);
  }
  const answer = await askIssuer(socket, "DELETE", `/entries/${encodeURIComponent(entryId)}`);
  const { entry } = answer as { readonly entry: EntryView };
  print([entry], options.json === true, io, { entry });
  return 0;
}

function print(entries: readonly EntryView[], json: boolean, io: CliIo, document: object): void {
  if (json) {
    io.out(`${asciiJson(JSON.stringify(document, undefined, 2))}\n`);
    return;
  }
  for (const { entryId, id, selectors, hint, svidTtl, jwtTtl, federatesWith, source, suspended } of entries) {
    const parts = [entryId, id, selectors.join(" ")];
    if (hint !== "") parts.push(`hint ${JSON.stringify(hint)}`);
    if (svidTtl !== undefined) parts.push(`svidTtl ${svidTtl}`);
    if (jwtTtl !== undefined) parts.push(`jwtTtl ${jwtTtl}`);
    if (federatesWith !== undefined) parts.push(`federatesWith ${federatesWith.join(" ") || "none"}`);
    if (source === "added") parts.push("added");
    if (suspended !== undefined) parts.push(`SUSPENDED: ${suspended}`);
    io.out(`${printable(parts.join("  "))}\n`);
  }
}
