import { X509Certificate } from "node:crypto";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import type { CompiledPolicy } from "../authz/compiled-policy.ts";
import { loadPolicies } from "../authz/load-policies.ts";
import "../authz/use-cel.ts";
import type { PolicyOptions } from "../authz/policy-options.ts";
import { matchesExpected } from "../certs/expected-identity.ts";
import { keptPolicyFiles } from "../config/kept-policies.ts";
import { loadSidecarConfig } from "../config/load-sidecar-config.ts";
import { type PolicyPath, readPolicyFiles, type SourceFile } from "../config/policy-source.ts";
import type { SidecarConfig } from "../config/sidecar-config.ts";
import { CountersignError, type Warning } from "../core/errors.ts";
import { parseSpiffeId, parseTrustDomain, type SpiffeId, type TrustDomain, trustDomainOf } from "../core/spiffe-id.ts";
import type { AskContext } from "../policy-tools/ask-policy.ts";
import type { CliIo } from "./cli-io.ts";
import { fetchStatus } from "./fetch-status.ts";
import { heldInput, inputOf, isPipe, nameOfInput } from "./input-lines.ts";
import { policyOptionsOf } from "./policy-options.ts";
import { seenBy } from "./policy-seen-call.ts";

/** How a configuration's policies are read and asked. */
export interface PolicySettings {
  readonly config: SidecarConfig;
  readonly options: PolicyOptions;
  readonly ask: AskContext;
}

/** What most policy commands work with: the policies, compiled as the sidecar would. */
export interface PolicyContext extends PolicySettings {
  readonly files: readonly SourceFile[];
  readonly policy: CompiledPolicy;
  readonly warnings: readonly Warning[];
}

export interface ContextArguments {
  /** As given on the command line. */
  readonly config: string;
  readonly trustDomain?: string | undefined;
}

/** Loads the configuration alone. Throws CountersignErrors with what is wrong. */
export async function loadPolicySettings(asked: ContextArguments, io: CliIo): Promise<PolicySettings> {
  // Policies can be asked about where no agent is known.
  const env = { SPIFFE_ENDPOINT_SOCKET: "unix:///run/spire/agent.sock", ...io.env };
  const { config } = await loadSidecarConfig(resolve(io.cwd, asked.config), env);
  const options = policyOptionsOf(config, await localTrustDomain(config, asked.trustDomain, io));
  return { config, options, ask: askContext(config) };
}

/** Loads policies too: those that are named, else the configuration's own. Throws CountersignErrors. */
export async function loadPolicyContext(
  asked: ContextArguments,
  io: CliIo,
  named: readonly string[] = [],
): Promise<PolicyContext> {
  const settings = await loadPolicySettings(asked, io);
  const files = await loadPolicyFiles(settings.config, named, io);
  return { ...settings, files, ...loadPolicies(files, settings.options) };
}

/** The policies' texts: of the files, folders and pipes that are named (`-` is the standard input), else the configuration's own. Of a URL it is what the sidecar has kept, since
 *  no command asks the network. Throws CountersignErrors. */
export async function loadPolicyFiles(
  config: SidecarConfig,
  named: readonly string[],
  io: CliIo,
): Promise<readonly SourceFile[]> {
  const piped = await Promise.all(named.map((name) => isPipe(inputOf(name, io.cwd))));
  const pipes = await Promise.all(named.filter((_, i) => piped[i]).map((name) => readPipe(inputOf(name, io.cwd), io)));
  const paths = named.filter((_, i) => piped[i] !== true);
  const read = named.length > 0 && paths.length === 0 ? [] : await readPolicyFiles(policyPaths(config, paths, io.cwd));
  const files = [...pipes, ...read];
  if (named.length > 0) return files;
  const kept = await keptPolicyFiles(config.policyUrls);
  for (const { url } of kept.missing)
    io.err(`countersign policy: nothing is kept of ${url} yet, and it is not fetched: the answer is without it\n`);
  return [...files, ...kept.files];
}

/** Of a pipe, or `-`. As much as a file may have. */
async function readPipe(name: string, io: CliIo): Promise<SourceFile> {
  const file = nameOfInput(name);
  const held = await heldInput(name, io, MAX_PIPE_BYTES);
  if (held === undefined || typeof held === "string")
    throw new CountersignError("E_CONFIG_FILE", `is larger than ${MAX_PIPE_BYTES} bytes`, { at: { file } });
  try {
    return { file, text: new TextDecoder("utf-8", { fatal: true }).decode(held.bytes) };
  } catch (error) {
    throw new CountersignError("E_CONFIG_FILE", "is not UTF-8 text", { at: { file }, cause: error });
  }
}

const MAX_PIPE_BYTES = 4 * 2 ** 20;

function policyPaths(config: SidecarConfig, named: readonly string[], cwd: string): readonly PolicyPath[] {
  if (named.length === 0) return config.policies;
  return named.map((name) => ({ path: resolve(cwd, name), at: { file: name } }));
}

function askContext(config: SidecarConfig): AskContext {
  const onlyOne = (ports: readonly number[]) => {
    const [first = 0, ...more] = new Set(ports);
    return more.length === 0 ? first : 0;
  };
  const appPort = onlyOne(config.inbound.map((inbound) => inbound.appPort));
  const leadingTo = (spiffeId: SpiffeId | undefined) =>
    config.outbound.filter(
      ({ identity }) => spiffeId !== undefined && identity.some((one) => matchesExpected(one, spiffeId)),
    );
  return {
    see: seenBy(config.trustedProxies),
    defaultPort: ({ direction, destination: { spiffeId } }) =>
      direction === "inbound" ? appPort : onlyOne(leadingTo(spiffeId).map(({ to: [first] }) => first?.port ?? 0)),
    nowMs: Date.now(),
    outboundDefault: ({ destination: { spiffeId } }) => (leadingTo(spiffeId).length > 0 ? "allow" : "deny"),
  };
}

/** Which trust domain is ours, without asking an agent: what was said, else the SVID in the identity files, else the running sidecar,
 *  else the only trust domain that there is a bundle for. Says so when none of them knows. */
async function localTrustDomain(
  config: SidecarConfig,
  named: string | undefined,
  io: CliIo,
): Promise<TrustDomain | undefined> {
  if (named !== undefined) return parseTrustDomain(named);
  const { identity, admin } = config;
  const found =
    (identity.kind === "files" ? await ofCertificate(identity.svid) : undefined) ??
    (admin?.kind === "unix" ? await ofSidecar(admin.path) : undefined) ??
    (identity.kind === "files" && identity.bundles.size === 1 ? [...identity.bundles.keys()][0] : undefined);
  if (found === undefined)
    io.err(
      "countersign policy: nobody here knows our own trust domain, so nothing counts as local: give --trust-domain\n",
    );
  return found;
}

async function ofCertificate(file: string): Promise<TrustDomain | undefined> {
  try {
    const uri = /URI:([^,\s"]+)/.exec(new X509Certificate(await readFile(file)).subjectAltName ?? "")?.[1];
    return uri === undefined ? undefined : trustDomainOf(parseSpiffeId(uri));
  } catch {
    return undefined; // not there yet, or no SVID: `check` and `svid show` say so
  }
}

async function ofSidecar(socket: string): Promise<TrustDomain | undefined> {
  if (!existsSync(socket)) return undefined;
  try {
    const [svid] = (await fetchStatus(socket)).identity.svids;
    return svid === undefined ? undefined : trustDomainOf(parseSpiffeId(svid.spiffeId));
  } catch (error) {
    if (error instanceof CountersignError) return undefined;
    throw error;
  }
}
