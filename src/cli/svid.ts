import { resolve } from "node:path";
import { Command } from "commander";
import { readBundleFile, readCertificatesFile } from "../certs/identity-file.ts";
import { inspectSvid, type SvidInspection } from "../certs/inspect-svid.ts";
import { errorCodes } from "../core/error-codes.ts";
import { CountersignError, formatError } from "../core/errors.ts";
import type { TrustBundle } from "../core/identity.ts";
import { asciiJson } from "../core/safe-text.ts";
import { type SpiffeId, spiffeIdProblem, type TrustDomain, trustDomainOf } from "../core/spiffe-id.ts";
import type { CliIo } from "./cli-io.ts";
import { parseCommand } from "./parse-command.ts";
import type { FetchJwtOptions, FetchOptions } from "./svid-fetch.ts";
import { formatSvid, type ShownSvid } from "./svid-view.ts";

interface ShowArguments {
  readonly bundle?: string;
  readonly json?: true;
}

/** `countersign svid fetch | show`: what the Workload API gives this process; what a certificate file is, and every reason why it is
 *  no X.509-SVID. 0: fetched, or it is one; 1: not; 2: wrong usage, or a file that cannot be read. */
export async function run(argv: readonly string[], io: CliIo): Promise<number> {
  let exitCode = 0;
  const program = new Command("countersign svid").description("SVIDs: fetch them, look at what a file holds");
  program
    .command("show <file>")
    .description("what a certificate chain is (PEM or DER), and every reason why it is no SVID")
    .option("--bundle <file>", "trust bundle of its trust domain, PEM or SPIFFE JSON: check the chain's end, too")
    .option("--json", "as JSON")
    .action((file: string, options: ShowArguments) => {
      exitCode = show(file, options, io);
    });
  const fetch = program.command("fetch").description("what the Workload API gives this process (default: x509)");
  const fetchOptions = (command: Command): Command =>
    command
      .option("-c, --config <file>", "countersign.yaml: ask where its sidecar does")
      .option("--address <address>", "the Workload API (default: $SPIFFE_ENDPOINT_SOCKET)")
      .option("--hint <hint>", "which SVID is wanted, when there are several", "")
      .option("--write <folder>", "write files, mode 0600, each replaced whole")
      .option("--watch", "go on: again at each change")
      .option("--json", "as JSON");
  fetchOptions(fetch.command("x509", { isDefault: true }))
    .description("X.509-SVIDs and trust bundles, verified as a peer would; keys only into files")
    .action(async (options: FetchOptions) => {
      const { fetchX509 } = await import("./svid-fetch.ts");
      exitCode = await fetchX509(options, io);
    });
  fetchOptions(fetch.command("jwt"))
    .description("a JWT-SVID: the token on stdout, or in a file")
    .requiredOption("--audience <audience...>", "who will take it")
    .option("--spiffe-id <id>", "for which of our identities (default: the first)")
    .action(async (options: FetchJwtOptions) => {
      const { fetchJwt } = await import("./svid-fetch.ts");
      exitCode = await fetchJwt(options, io);
    });
  return parseCommand(program, argv, io, () => exitCode);
}

function show(file: string, options: ShowArguments, io: CliIo): number {
  let shown: ShownSvid;
  try {
    shown = inspect(file, options.bundle, io.cwd);
  } catch (error) {
    if (!(error instanceof CountersignError)) throw error;
    io.err(
      `${formatError(new CountersignError(error.code, error.message, { fix: error.fix ?? errorCodes[error.code].fix }))}\n`,
    );
    return 2;
  }
  io.out(options.json === true ? `${asciiJson(JSON.stringify(shown))}\n` : formatSvid(shown, io.colour));
  return shown.isSvid ? 0 : 1;
}

function inspect(file: string, bundleFile: string | undefined, cwd: string): ShownSvid {
  const chain = readCertificatesFile(resolve(cwd, file));
  const nowMs = Date.now();
  const first = inspectSvid(chain, undefined, nowMs);
  if (bundleFile === undefined) return shownOf(file, first, false);
  const trustDomain = trustDomainIn(first);
  // A chain without a SPIFFE ID has no trust domain whose bundle this could be; that is said already.
  if (trustDomain === undefined) return shownOf(file, first, false);
  const bundle: TrustBundle = readBundleFile(trustDomain, resolve(cwd, bundleFile));
  return shownOf(file, inspectSvid(chain, new Map([[trustDomain, bundle]]), nowMs), true);
}

function trustDomainIn({ claimed }: SvidInspection): TrustDomain | undefined {
  return claimed === undefined || spiffeIdProblem(claimed) !== undefined
    ? undefined
    : trustDomainOf(claimed as SpiffeId);
}

function shownOf(file: string, { claimed, problems, certificates }: SvidInspection, withBundle: boolean): ShownSvid {
  return {
    file,
    isSvid: problems.length === 0,
    spiffeId: claimed ?? null,
    trust: !withBundle ? "not checked" : problems.length === 0 ? "proven" : "refused",
    problems: problems.map(({ code, reason }) => ({ code, message: reason, fix: errorCodes[code].fix })),
    certificates,
  };
}
