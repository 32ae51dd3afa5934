// The entry of `countersign`. It knows the commands' names and one-line summaries, and loads only the one that runs.
import type { CliCommand, CliIo } from "./cli-io.ts";
import { start } from "./start.ts";
import { countersignVersion } from "./version.ts";

const commands: Readonly<Record<string, { readonly summary: string; readonly load: () => Promise<CliCommand> }>> = {
  // keep in the order of the help text
  run: { summary: "the sidecar", load: () => import("./run.ts") },
  check: { summary: "all errors of a configuration and its policies", load: () => import("./check.ts") },
  policy: { summary: "what policies mean: explain, test, lint, diff, suggest", load: () => import("./policy.ts") },
  doctor: { summary: "what is wrong with identity, before a user finds it", load: () => import("./doctor.ts") },
  demo: { summary: "issuer, two apps and their sidecars on this machine", load: () => import("./demo.ts") },
  svid: { summary: "SVIDs: fetch them, show what a certificate file is", load: () => import("./svid.ts") },
  status: { summary: "what a running sidecar says of itself", load: () => import("./status.ts") },
  audit: { summary: "the audit log: tail", load: () => import("./audit.ts") },
  issuer: { summary: "the embedded identity provider: run, entries, bundle", load: () => import("./issuer.ts") },
};

function help(): string {
  const width = Math.max(0, ...Object.keys(commands).map((name) => name.length));
  const lines = Object.entries(commands).map(([name, { summary }]) => `  ${name.padEnd(width)}  ${summary}`);
  return [
    "countersign: an identity sidecar",
    "",
    "Usage: countersign <command> [options]",
    "",
    ...lines,
    "",
    "  --version, --help; countersign <command> --help tells more.",
    "",
  ].join("\n");
}

export async function main(argv: readonly string[], io: CliIo): Promise<number> {
  const [name, ...rest] = argv;
  if (name === "--version" || name === "-V") {
    io.out(`${countersignVersion()}\n`);
    return 0;
  }
  if (name === "--help" || name === "-h" || name === "help") {
    io.out(help());
    return 0;
  }
  const command = name === undefined || !Object.hasOwn(commands, name) ? undefined : commands[name];
  if (command === undefined) {
    io.err(
      name === undefined ? help() : `countersign: unknown command ${JSON.stringify(name)}; see countersign --help\n`,
    );
    return 2;
  }
  const module = await command.load();
  return module.run(rest, io);
}

// Run from source. In the bundle bin.ts starts it, and import.meta.main is false here (tools/build.mjs).
if (import.meta.main) await start(main);
