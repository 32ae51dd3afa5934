import type { IdentityLogEntry } from "../certs/identity-log.ts";
import { createIdentitySource } from "../certs/identity-source.ts";
import type { SidecarConfig } from "../config/sidecar-config.ts";
import { CountersignError, type Warning } from "../core/errors.ts";
import type { IdentitySnapshot, IdentitySource } from "../core/identity.ts";
import { systemClock } from "../sys/system-clock.ts";
import type { Finding } from "./findings-report.ts";
import { identityOptionsOf } from "./identity-options.ts";

export interface IdentityAnswer {
  readonly snapshot: IdentitySnapshot | undefined;
  readonly findings: readonly Finding[];
}

const TIMEOUT_MS = 8_000;

/** Asks the identity source once, as the sidecar would. Nothing is kept or written. */
export async function askIdentity(config: SidecarConfig): Promise<IdentityAnswer> {
  const warnings: Warning[] = [];
  const log = ({ event, message, fields }: IdentityLogEntry): void => {
    if (event === "identity.warning") warnings.push({ code: String(fields["code"]) as Warning["code"], message });
  };
  const options = identityOptionsOf(config);
  const withoutState = options.kind === "files" ? { ...options, stateFolder: undefined } : options;
  const source = createIdentitySource(withoutState, systemClock, log);
  try {
    const isInTime = await until(() =>
      isSettled(source, options.kind === "workloadApi" && options.jwtBundles === true),
    );
    const { state, federation = [] } = source;
    const snapshot = "snapshot" in state ? state.snapshot : undefined;
    const problem = "problem" in state ? state.problem : undefined;
    const findings: Finding[] = [...warnings];
    if (problem !== undefined) findings.push(explained(problem));
    else if (snapshot === undefined && !isInTime)
      findings.push(
        new CountersignError(
          "E_WORKLOAD_API_UNAVAILABLE",
          `${source.description} took the call and said nothing for ${TIMEOUT_MS / 1000} s`,
          {
            fix: "look at the agent's log: it may wait for its own server, or for node attestation",
          },
        ),
      );
    for (const { trustDomain, problem: failed } of federation)
      if (failed !== undefined)
        findings.push(new CountersignError(failed.code, `${trustDomain}: ${failed.message}`, { fix: failed.fix }));
    return { snapshot, findings };
  } finally {
    source.close();
  }
}

function isSettled({ state, federation = [] }: IdentitySource, wantsJwt: boolean): boolean {
  if (federation.some(({ fetchedAtMs, problem }) => fetchedAtMs === undefined && problem === undefined)) return false;
  if (state.kind === "waiting") return state.problem !== undefined;
  return !wantsJwt || state.kind !== "serving" || state.snapshot.jwtBundles !== undefined;
}

/** What a person can do about an answer of the agent, beyond what the code says. */
function explained(problem: CountersignError): CountersignError {
  const { code, message, cause } = problem;
  if (code === "E_WORKLOAD_API_DENIED") {
    const selectors = [`unix:uid:${process.geteuid?.() ?? 0}`, `unix:gid:${process.getegid?.() ?? 0}`];
    const spire = `spire-server entry create -parentID … -spiffeID … -selector ${selectors[0] ?? ""}`;
    const fix = `create an entry for the sidecar; a process of this user has the selectors ${selectors.join(", ")} (with SPIRE: ${spire}). Run the doctor as the sidecar's user`;
    return new CountersignError(code, message, { fix, cause });
  }
  if (code === "E_CERT_NOT_YET_VALID" || code === "E_CERT_EXPIRED") {
    const text = `${message}; this machine's clock says ${new Date().toISOString()}`;
    return new CountersignError("E_DOCTOR_CLOCK", text, { cause });
  }
  return problem;
}

/** Whether it came to be true in time. */
function until(condition: () => boolean): Promise<boolean> {
  const end = performance.now() + TIMEOUT_MS;
  return new Promise((resolve) => {
    const look = (): void => {
      if (condition()) resolve(true);
      else if (performance.now() >= end) resolve(false);
      else setTimeout(look, 20);
    };
    look();
  });
}
