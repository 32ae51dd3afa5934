import type { Client, ClientReadableStream, StatusObject } from "@grpc/grpc-js";
import type { Clock } from "../../core/clock.ts";
import { asCountersignError, CountersignError } from "../../core/errors.ts";
import type { IdentitySource } from "../../core/identity.ts";
import { createIdentityHolder, sourceOf } from "../identity-holder.ts";
import type { IdentityLog } from "../identity-log.ts";
import { grpcTarget } from "./endpoint-address.ts";
import { loadWorkloadApi, type WorkloadApiDefinition, type X509SvidResponse } from "./proto.ts";
import { readX509Response } from "./read-x509-response.ts";

/** identity.workloadApi of the configuration. */
export interface WorkloadApiOptions {
  /** unix:///absolute/path or tcp://IP:port. */
  readonly address: string;
  /** Hint of the default SVID, "" for the first. */
  readonly hint: string;
  /** How long our SVID outlives the agent's first PermissionDenied. 0 drops it at once. */
  readonly revocationGraceMs: number;
}

const TIMEOUT_MS = 60_000;
const BACKOFF_STEP_MS = 1_000;
const BACKOFF_LIMIT_MS = 30_000;
const MAX_MESSAGE_BYTES = 4 * 1024 * 1024;

/** gRPC status codes that mean something of their own here. */
const INVALID_ARGUMENT = 3;
const PERMISSION_DENIED = 7;
const UNIMPLEMENTED = 12;

/** Identity from a SPIFFE Workload API (SPIFFE Workload Endpoint and Workload API standards). Holds one FetchX509SVID
 *  stream open and dials again, after 1, 2, … 30 s, whenever it ends. Loads gRPC only now. Throws CountersignError
 *  E_WORKLOAD_API_ADDRESS; everything else that goes wrong is in the state. */
export function createWorkloadApiSource(options: WorkloadApiOptions, clock: Clock, log: IdentityLog): IdentitySource {
  const target = grpcTarget(options.address);
  const holder = createIdentityHolder(clock, log);
  let isClosed = false;
  let hangUp: () => void = () => undefined;
  let cancelRetry: () => void = () => undefined;
  let cancelGrace: (() => void) | undefined;
  let failures = 0;
  let timedOut = false;
  let lastProblem: CountersignError | undefined;

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
  const hasSnapshot = (): boolean => holder.state.kind === "serving" || holder.state.kind === "stale";

  const onMessage = (message: X509SvidResponse): void => {
    try {
      const material = readX509Response(message, options.hint, clock.nowMs());
      failures = 0;
      lastProblem = undefined;
      endGrace();
      holder.serve(material);
    } catch (error) {
      const problem = asCountersignError(
        error,
        "E_WORKLOAD_API_MESSAGE",
        "a message of the Workload API cannot be used",
      );
      // The message is good, but our SVID is no longer in it: it is unloaded, as the standard wants.
      if (problem.code === "E_IDENTITY_HINT" && hasSnapshot()) holder.revoke(problem);
      else fail(problem);
    }
  };

  const onDenied = (problem: CountersignError): void => {
    fail(problem);
    if (!hasSnapshot() || cancelGrace !== undefined) return;
    const revoke = (): void =>
      holder.revoke(
        new CountersignError("E_IDENTITY_REVOKED", `our SVID was taken away: ${problem.message}`, { cause: problem }),
      );
    if (options.revocationGraceMs <= 0) revoke();
    else cancelGrace = clock.after(options.revocationGraceMs, revoke);
  };

  const onEnd = ({ code, details }: Pick<StatusObject, "code" | "details">): void => {
    hangUp();
    if (isClosed) return;
    const answer = answerOf(code, details);
    if (code === INVALID_ARGUMENT || code === UNIMPLEMENTED) {
      fail(new CountersignError("E_WORKLOAD_API_REFUSED", `${options.address} ${answer}; not retried`));
      return;
    }
    if (code === PERMISSION_DENIED)
      onDenied(new CountersignError("E_WORKLOAD_API_DENIED", `${options.address} ${answer}`));
    else fail(new CountersignError("E_WORKLOAD_API_UNAVAILABLE", `${options.address} ${answer}`));
    failures++;
    cancelRetry = clock.after(Math.min(failures * BACKOFF_STEP_MS, BACKOFF_LIMIT_MS), dial);
  };

  const dial = (): void => {
    Promise.all([import("@grpc/grpc-js"), loadWorkloadApi()]).then(
      ([grpc, api]) => {
        if (isClosed) return;
        const { client, stream } = openStream(grpc, api, target);
        hangUp = () => {
          hangUp = () => undefined;
          stream.cancel();
          client.close();
        };
        stream.on("data", onMessage);
        stream.on("error", () => undefined); // the status says the same, also for an end without error
        stream.once("status", onEnd);
      },
      (cause: unknown) => fail(asCountersignError(cause, "E_WORKLOAD_API_UNAVAILABLE", "gRPC cannot be loaded")),
    );
  };

  dial();
  return sourceOf(`workload-api ${options.address}`, holder, () => {
    isClosed = true;
    cancelTimeout();
    cancelRetry();
    endGrace();
    hangUp();
  });
}

function openStream(
  grpc: typeof import("@grpc/grpc-js"),
  { FetchX509SVID: method }: WorkloadApiDefinition,
  target: string,
): { client: Client; stream: ClientReadableStream<X509SvidResponse> } {
  const client = new grpc.Client(target, grpc.credentials.createInsecure(), {
    "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
    "grpc.enable_http_proxy": 0,
    "grpc.enable_retries": 0,
    // A pool shared by the process would add its own back-off to ours.
    "grpc.use_local_subchannel_pool": 1,
  });
  const metadata = new grpc.Metadata();
  metadata.set("workload.spiffe.io", "true");
  const stream = client.makeServerStreamRequest(
    method.path,
    method.requestSerialize,
    method.responseDeserialize,
    {},
    metadata,
  );
  return { client, stream };
}

const statusNames: Readonly<Record<number, string>> = {
  0: "OK",
  1: "CANCELLED",
  2: "UNKNOWN",
  3: "INVALID_ARGUMENT",
  4: "DEADLINE_EXCEEDED",
  5: "NOT_FOUND",
  7: "PERMISSION_DENIED",
  8: "RESOURCE_EXHAUSTED",
  12: "UNIMPLEMENTED",
  13: "INTERNAL",
  14: "UNAVAILABLE",
  16: "UNAUTHENTICATED",
};

function answerOf(code: number, details: string): string {
  if (code === 0) return "ended the stream";
  return `answered ${statusNames[code] ?? `status ${code}`}: ${details.slice(0, 256).replace(/[^\x20-\x7e]/g, "?")}`;
}
