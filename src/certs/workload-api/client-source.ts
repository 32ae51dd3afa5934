import type { Clock } from "../../core/clock.ts";
import { asCountersignError, CountersignError } from "../../core/errors.ts";
import type { IdentitySource, IdentityState, JwtBundle, JwtSvid } from "../../core/identity.ts";
import type { TrustDomain } from "../../core/spiffe-id.ts";
import { createIdentityHolder, type IdentityMaterial, logWarning, sourceOf } from "../identity-holder.ts";
import type { IdentityLog } from "../identity-log.ts";
import { readOwnJwtSvid } from "../jwt-svid/own-jwt-svid.ts";
import { type KeptStream, keepStream } from "./keep-stream.ts";
import type { JwtBundlesResponse, X509SvidResponse } from "./proto.ts";
import { readJwtBundles } from "./read-jwt-bundles.ts";
import { readX509Response } from "./read-x509-response.ts";
import { socketStamp } from "./socket-stamp.ts";
import { createWorkloadApiClient } from "./workload-api-client.ts";

/** identity.workloadApi of the configuration. */
export interface WorkloadApiOptions {
  /** unix:///absolute/path or tcp://IP:port. */
  readonly address: string;
  /** Hint of the default SVID, "" for the first. */
  readonly hint: string;
  /** How long our SVID outlives the agent's first PermissionDenied. 0 drops it at once. */
  readonly revocationGraceMs: number;
  /** Whether trust domains' JWT authorities are wanted as well. */
  readonly jwtBundles?: boolean;
}

const TIMEOUT_MS = 60_000;
const JWT_TIMEOUT_MS = 10_000;
/** From this part of an SVID's life on its successor is overdue: agents rotate at half of it. */
const OVERDUE = 0.8;

/** Identity from a SPIFFE Workload API (SPIFFE Workload Endpoint and Workload API standards): one FetchX509SVID stream
 *  that is kept open, and one FetchJWTBundles stream where that is asked for. An agent that rotates nothing while an SVID
 *  comes to its end is dialled anew. Throws CountersignError E_WORKLOAD_API_ADDRESS; everything else that goes wrong is in
 *  the state. */
export function createWorkloadApiSource(options: WorkloadApiOptions, clock: Clock, log: IdentityLog): IdentitySource {
  const { address } = options;
  const client = createWorkloadApiClient(address);
  const holder = createIdentityHolder(clock, log);
  let cancelGrace: (() => void) | undefined;
  let cancelOverdue: () => void = () => undefined;
  let timedOut = false;
  let lastProblem: CountersignError | undefined;
  let jwtBundles: ReadonlyMap<TrustDomain, JwtBundle> | undefined;

  /** Once the first SVID is overdue, that is what is wrong; the agent's answer goes with it. */
  const fail = (problem: CountersignError | undefined): void => {
    lastProblem = problem;
    const isOverdue = timedOut && holder.state.kind === "waiting";
    if (isOverdue) {
      const answer = problem === undefined ? "the Workload API has not answered" : problem.message;
      holder.fail(new CountersignError("E_IDENTITY_TIMEOUT", `no SVID within 60 s: ${answer}`, { cause: problem }));
    } else if (problem !== undefined) holder.fail(problem);
  };
  const cancelTimeout = clock.after(TIMEOUT_MS, () => {
    timedOut = true;
    fail(lastProblem);
  });

  const endGrace = (): void => {
    cancelGrace?.();
    cancelGrace = undefined;
  };

  const onSvids = (message: X509SvidResponse): boolean => {
    let material: IdentityMaterial;
    try {
      material = { ...readX509Response(message, options.hint, clock.nowMs()), jwtBundles };
    } catch (error) {
      const problem = asCountersignError(
        error,
        "E_WORKLOAD_API_MESSAGE",
        "a message of the Workload API cannot be used",
      );
      // The message is good, but our SVID is no longer in it: it is unloaded, as the standard wants.
      if (problem.code === "E_IDENTITY_HINT" && hasSnapshot(holder.state)) holder.revoke(problem);
      else fail(problem);
      return false;
    }
    lastProblem = undefined;
    endGrace();
    armOverdue(material);
    holder.serve(material);
    return true;
  };

  const onDenied = (problem: CountersignError): void => {
    if (!hasSnapshot(holder.state) || cancelGrace !== undefined) return;
    const revoke = (): void =>
      holder.revoke(
        new CountersignError("E_IDENTITY_REVOKED", `our SVID was taken away: ${problem.message}`, { cause: problem }),
      );
    if (options.revocationGraceMs <= 0) revoke();
    else cancelGrace = clock.after(options.revocationGraceMs, revoke);
  };

  /** Asks again at 80 % of the SVID's life, then whenever half of what is left has passed. */
  const armOverdue = ({ svids }: IdentityMaterial): void => {
    cancelOverdue();
    const { notBeforeMs, notAfterMs, spiffeId } = svids[0];
    const ask = (): void => {
      const leftMs = notAfterMs - clock.nowMs();
      if (leftMs < 1000) return;
      logWarning(log, {
        code: "W_IDENTITY_OVERDUE",
        message: `${spiffeId} expires in ${Math.round(leftMs / 1000)} s and ${address} has sent no successor: it is asked again`,
      });
      svidStream.redial();
      cancelOverdue = clock.after(leftMs / 2, ask);
    };
    const untilOverdueMs = notBeforeMs + (notAfterMs - notBeforeMs) * OVERDUE - clock.nowMs();
    cancelOverdue = clock.after(untilOverdueMs > 0 ? untilOverdueMs : (notAfterMs - clock.nowMs()) / 2, ask);
  };

  const onJwtBundles = (message: JwtBundlesResponse): boolean => {
    try {
      jwtBundles = readJwtBundles(message);
    } catch (error) {
      const { code, message: text } = asCountersignError(error, "E_WORKLOAD_API_MESSAGE", "JWT bundles cannot be read");
      log({ level: "error", event: "identity.problem", message: text, fields: { code } });
      return false;
    }
    holder.amend({ jwtBundles });
    return true;
  };

  const whatIsThere = (): string => socketStamp(address);
  const svidStream: KeptStream = keepStream({
    open: (handlers) => client.watchX509Svids(handlers),
    address,
    clock,
    whatIsThere,
    onMessage: onSvids,
    onProblem(problem) {
      fail(problem);
      if (problem.code === "E_WORKLOAD_API_DENIED") onDenied(problem);
    },
  });
  const jwtStream: KeptStream | undefined =
    options.jwtBundles === true
      ? keepStream({
          open: (handlers) => client.watchJwtBundles(handlers),
          address,
          clock,
          whatIsThere,
          onMessage: onJwtBundles,
          // The SVIDs' stream says what is wrong with the agent; what is wrong with this one alone is no loss of identity.
          onProblem: ({ code, message }) =>
            log({ level: "warn", event: "identity.warning", message, fields: { code } }),
        })
      : undefined;

  async function fetchJwtSvid(audience: string, hint: string): Promise<JwtSvid> {
    const { state } = holder;
    const ours = hasSnapshot(state)
      ? state.snapshot.svids.find((svid, i) => (hint === "" ? i === 0 : svid.hint === hint))?.spiffeId
      : undefined;
    if (ours === undefined)
      throw new CountersignError("E_JWT_SVID_NONE", "there is no X.509-SVID of ours to go with it yet");
    const { svids } = await client.fetchJwtSvids({ audience: [audience], spiffeId: ours }, JWT_TIMEOUT_MS);
    const [first] = svids;
    if (first === undefined)
      throw new CountersignError("E_WORKLOAD_API_MESSAGE", "a message of the Workload API has no JWT-SVID");
    return readOwnJwtSvid(first.svid, ours, audience, clock.nowMs());
  }

  return sourceOf(
    `workload-api ${address}`,
    holder,
    () => {
      cancelTimeout();
      endGrace();
      cancelOverdue();
      svidStream.close();
      jwtStream?.close();
    },
    { fetchJwtSvid },
  );
}

function hasSnapshot(state: IdentityState): state is Extract<IdentityState, { readonly snapshot: unknown }> {
  return state.kind === "serving" || state.kind === "stale";
}
