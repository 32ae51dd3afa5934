import { findPlace } from "../config/find-place.ts";
import type { SidecarConfig } from "../config/sidecar-config.ts";
import { CountersignError, type Warning } from "../core/errors.ts";
import { fileWarnings } from "./check-files.ts";
import { clockFindings } from "./doctor-clock.ts";
import { askIdentity } from "./doctor-identity.ts";
import { dialFindings, expectationFindings } from "./doctor-peers.ts";
import { snapshotFindings } from "./doctor-snapshot.ts";
import { socketFinding } from "./doctor-socket.ts";
import type { Finding, Findings } from "./findings-report.ts";

export interface Patient {
  readonly config: SidecarConfig;
  /** The configuration's text, for places. */
  readonly text: string;
  readonly warnings: readonly Warning[];
  /** Configurations of sidecars that call this one. */
  readonly peers: readonly SidecarConfig[];
  /** Whether to connect to the servers of outbound. */
  readonly dial: boolean;
}

/** Looks at everything that identity hangs on, from the file to the servers. What cannot be looked at because of something
 *  else that is wrong is not mentioned. Takes some ten seconds at most for a source that does not answer. */
export async function examine({ config, text, warnings, peers, dial }: Patient): Promise<Findings> {
  const found: Finding[] = [...warnings, ...fileWarnings(config, text)];
  const at = (...path: readonly (string | number)[]) => findPlace(text, config.file, path);
  const { identity } = config;
  const socket = identity.kind === "workloadApi" ? await socketFinding(identity.address) : undefined;
  if (socket !== undefined) {
    found.push(placed(socket, at("identity", "workloadApi", "address")));
    return divided(found);
  }
  const answer = await askIdentity(config);
  found.push(...answer.findings.map((finding) => placed(finding, at("identity"))));
  const { snapshot } = answer;
  if (snapshot !== undefined) {
    found.push(...snapshotFindings(config, snapshot, Date.now(), at));
    found.push(...expectationFindings(config, snapshot, peers));
    if (identity.kind === "workloadApi") found.push(...(await clockFindings(identity.address, snapshot)));
    if (dial) found.push(...(await dialFindings(config, snapshot, at)));
  }
  return divided(found);
}

/** The place of the configuration that a finding is about, where it names none itself. */
function placed(finding: Finding, at: ReturnType<typeof findPlace>): Finding {
  if (finding.at !== undefined) return finding;
  if (!(finding instanceof CountersignError)) return { ...finding, at };
  const { code, message, fix, cause } = finding;
  return new CountersignError(code, message, { fix, cause, at });
}

function divided(found: readonly Finding[]): Findings {
  const isError = (one: Finding): one is CountersignError => one instanceof CountersignError;
  return { errors: found.filter(isError), warnings: found.filter((one): one is Warning => !isError(one)) };
}
