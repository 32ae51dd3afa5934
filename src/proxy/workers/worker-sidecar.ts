import { closeSync } from "node:fs";
import type { MessagePort } from "node:worker_threads";
import { createWorkerAuditLog } from "../../audit/worker-audit-log.ts";
import type { CompiledPolicy } from "../../authz/compiled-policy.ts";
import { loadPoliciesInTurns, openPackedPolicy, readyToOpen } from "../../authz/load-policies.ts";
import type { SidecarConfig } from "../../config/sidecar-config.ts";
import { CountersignError, CountersignErrors } from "../../core/errors.ts";
import type { JwtSvid } from "../../core/identity.ts";
import { duplicateFd } from "../../sys/duplicate-fd.ts";
import { eventLoopTurns } from "../../sys/event-loop-turns.ts";
import { systemClock } from "../../sys/system-clock.ts";
import { createLagMeter } from "../../telemetry/event-loop-lag.ts";
import type { createLogger } from "../../telemetry/logger.ts";
import { createTelemetry } from "../../telemetry/telemetry.ts";
import { snapshotTelemetry } from "../../telemetry/telemetry-totals.ts";
import { startSidecar } from "../sidecar.ts";
import { svidsInUse } from "../svid-use.ts";
import { errorFromWire, errorToWire, type WireError } from "./identity-wire.ts";
import type { WorkerSocket } from "./listening-sockets.ts";
import type {
  FromWorker,
  PolicyInputs,
  ToWorker,
  WorkerAnswer,
  WorkerReport,
  WorkerRequest,
  WorkerStart,
} from "./messages.ts";
import { createRelayedIdentity } from "./relayed-identity.ts";

/** What may fail of a change, done before it is put in force. */
interface Prepared {
  readonly policy: CompiledPolicy;
  readonly config: SidecarConfig | undefined;
  readonly sockets: readonly WorkerSocket[] | undefined;
}

/** The body of a worker thread: one whole data plane, which the main thread directs through `port`. Resolves once it serves; what goes
 *  wrong later ends the thread, and the main thread sees to the rest. `flushAudit` hands over the records that wait. */
export async function runWorkerSidecar(
  start: WorkerStart,
  port: MessagePort,
  log: ReturnType<typeof createLogger>,
): Promise<{ readonly flushAudit: () => void }> {
  const post = (message: FromWorker): void => port.postMessage(message);
  const telemetry = createTelemetry();
  const lag = createLagMeter();
  const audit = createWorkerAuditLog(start.config.audit, start.cells, start.worker, systemClock, (records) =>
    port.postMessage({ kind: "audit", records } satisfies FromWorker, [records.bytes.buffer]),
  );
  const svidRequests = new Map<
    number,
    { resolve: (svid: JwtSvid) => void; reject: (error: CountersignError) => void }
  >();
  let nextSvidRequest = 0;
  const identity = createRelayedIdentity(start.identity, (audience, hint) => {
    const id = nextSvidRequest++;
    post({ kind: "want-jwt-svid", id, audience, hint });
    const { promise, resolve, reject } = Promise.withResolvers<JwtSvid>();
    svidRequests.set(id, { resolve, reject });
    return promise;
  });

  let { sockets } = start;
  /** Descriptors that a change will need. */
  let held = new Map<WorkerSocket, number>();
  const dropHeld = (): void => {
    for (const fd of held.values()) closeSync(fd);
    held = new Map();
  };
  let policy = await policyFrom(start.policies);
  let prepared: Prepared | undefined;
  const sidecar = await startSidecar({
    config: start.config,
    policy,
    identity,
    audit,
    recorder: telemetry,
    log: {
      info(fields, message) {
        // the main thread says where we listen, once for all of us
        if (!("event" in fields) || fields.event !== "listening") log.info(fields, message);
      },
      warn: (fields, message) => log.warn(fields, message),
    },
    sharedSocket(direction, name) {
      const socket = sockets.find((one) => one.direction === direction && one.name === name);
      if (socket === undefined) throw new TypeError(`there is no socket for ${direction} ${name}`);
      const fd = held.get(socket) ?? duplicateFd(socket.fd);
      held.delete(socket);
      return { fd, address: socket.address, connections: socket.connections };
    },
  });

  function report(): WorkerReport {
    return {
      listeners: sidecar.listeners,
      calls: sidecar.activeCalls,
      overloaded: sidecar.overloaded,
      policyVersion: policy.version,
      identity: identity.state.kind,
      keySources: sidecar.keySources.map((source) => ({
        ...source,
        problem: source.problem && errorToWire(source.problem),
      })),
      providers: sidecar.providers,
      telemetry: snapshotTelemetry(telemetry),
      svids: Array.from(svidsInUse(), ([{ fingerprint, notBeforeMs }, connections]) => ({
        fingerprint,
        notBeforeMs,
        connections,
      })),
      lag: lag.take(),
    };
  }
  async function prepare(request: Extract<WorkerRequest, { kind: "prepare" }>): Promise<WorkerAnswer> {
    dropHeld(); // of a change that was given up
    try {
      for (const socket of request.sockets ?? []) held.set(socket, duplicateFd(socket.fd));
      const next = await policyFrom(request.policies);
      prepared = { policy: next, config: request.config, sockets: request.sockets };
      return {};
    } catch (error) {
      dropHeld();
      return { problems: problemsOf(error) };
    }
  }
  async function commit(): Promise<WorkerAnswer> {
    if (prepared === undefined) throw new TypeError("nothing was prepared");
    const { config } = prepared;
    policy = prepared.policy;
    sockets = prepared.sockets ?? sockets;
    prepared = undefined;
    if (config === undefined) sidecar.setPolicy(policy);
    else {
      await sidecar.setConfig(config, policy);
      log.level = config.logLevel;
    }
    dropHeld();
    return {};
  }
  async function answer(request: WorkerRequest): Promise<WorkerAnswer> {
    switch (request.kind) {
      case "identity":
        identity.adopt(request.identity);
        return {};
      case "prepare":
        return prepare(request);
      case "commit":
        return commit();
      case "abandon":
        prepared = undefined;
        dropHeld();
        return {};
      case "report":
        return { report: report() };
      case "drain": {
        const cut = await sidecar.drain(request.timeoutMs);
        audit.flush();
        return { cut, report: report() };
      }
    }
  }
  port.on("messageerror", (error) => {
    throw error; // it may be an identity that we must no longer serve with
  });
  port.on("message", (message: ToWorker) => {
    switch (message.kind) {
      case "request": {
        const { id, request } = message;
        // a failure here is a mistake of ours, or a change that was taken in half: the thread ends by it
        void answer(request).then((result) => post({ kind: "answer", id, answer: result }));
        return;
      }
      case "jwt-svid":
        svidRequests.get(message.id)?.resolve(message.svid);
        svidRequests.delete(message.id);
        return;
      case "no-jwt-svid":
        svidRequests.get(message.id)?.reject(errorFromWire(message.problem));
        svidRequests.delete(message.id);
    }
  });
  post({ kind: "started" });
  return { flushAudit: () => audit.flush() };
}

async function policyFrom({ packed, files, options }: PolicyInputs): Promise<CompiledPolicy> {
  if (packed !== undefined) {
    await readyToOpen(packed);
    return openPackedPolicy(packed);
  }
  return (await loadPoliciesInTurns(files, options, eventLoopTurns)).policy;
}

/** What went wrong, as the main thread can be told of it. Throws what is neither CountersignError nor CountersignErrors. */
export function problemsOf(error: unknown): readonly WireError[] {
  if (error instanceof CountersignErrors) return error.errors.map(errorToWire);
  if (error instanceof CountersignError) return [errorToWire(error)];
  throw error;
}
