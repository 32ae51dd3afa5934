import type { RunningAuditLog } from "../../audit/audit-log.ts";
import { type AuditCells, heldBy } from "../../audit/shared-places.ts";
import type { SidecarConfig } from "../../config/sidecar-config.ts";
import { asCountersignError, CountersignError, CountersignErrors } from "../../core/errors.ts";
import type { IdentitySource, JwtSvid } from "../../core/identity.ts";
import { systemClock } from "../../sys/system-clock.ts";
import type { ProxyLog } from "../runtime.ts";
import { addressText } from "../upstream/dial.ts";
import { errorFromWire, errorToWire, identityToWire } from "./identity-wire.ts";
import { createListeningSockets } from "./listening-sockets.ts";
import type { PolicyInputs, WorkerReport, WorkerRequest } from "./messages.ts";
import { startWorkerThread, type WorkerThread } from "./worker-thread.ts";

/** A worker that does not answer within this time counts as one that does not serve. */
const SILENT_AFTER_MS = 2000;
/** So much longer than its calls may take a worker has to say that they ended. */
const DRAIN_GRACE_MS = 2000;

export interface WorkerGroupParts {
  /** What a worker thread runs. */
  readonly entry: URL;
  readonly workers: number;
  readonly config: SidecarConfig;
  readonly policies: PolicyInputs;
  readonly identity: IdentitySource;
  /** Made with the same cells. */
  readonly audit: RunningAuditLog;
  readonly cells: AuditCells;
  readonly log: ProxyLog & { error(fields: object, message?: string): void };
  /** `problems` may be other ones. */
  readonly onChange: () => void;
}

/** One worker as last heard of. */
export interface WorkerView {
  /** From 1. */
  readonly worker: number;
  readonly answering: boolean;
  readonly report: WorkerReport;
}

/** The threads that carry the traffic of one sidecar. What they share lives in the main thread: identity, policies, audit, pages. */
export interface WorkerGroup {
  /** As of the last `refresh`. */
  readonly views: readonly WorkerView[];
  /** Why not every worker serves. */
  readonly problems: readonly CountersignError[];
  /** Resolves with the first worker that ends unasked. The others go on until they are drained: what a thread leaves behind that threw is
   *  unknown, so the process has to end, as it does when its only thread throws. */
  readonly lost: Promise<CountersignError>;
  /** Asks every worker for its numbers. Waits for at most two seconds; of a worker that does not answer the last ones stay. */
  refresh(): Promise<void>;
  /** Sends the identity as it is now to every worker. */
  sendIdentity(): void;
  /** Puts policies in force: in every worker, or, where one cannot compile them, in none (rejects with CountersignErrors). Once it
   *  resolves no call is decided by the old ones. */
  setPolicies(policies: PolicyInputs): Promise<void>;
  /** The same for a configuration with its policies. Rejects with CountersignError E_LISTEN or CountersignErrors. */
  setConfig(config: SidecarConfig, policies: PolicyInputs): Promise<void>;
  /** Stops accepting, lets calls end until `timeoutMs`, ends the threads. Resolves with the number of calls that were cut. */
  drain(timeoutMs: number): Promise<number>;
}

/** Starts the workers. Rejects with CountersignError E_LISTEN or CountersignErrors when one cannot serve; then none runs. */
export async function startWorkerGroup(parts: WorkerGroupParts): Promise<WorkerGroup> {
  const { identity, audit, cells, log } = parts;
  const lost = Promise.withResolvers<CountersignError>();
  const silent = new Set<number>();
  const gone = new Set<number>();
  /** By worker: whether it has an SVID to serve with. */
  const withIdentity = new Set<number>();
  const reports = new Map<number, WorkerReport>();
  const svidRequests = new Map<string, Promise<JwtSvid>>();
  let refreshing: Promise<void> | undefined;

  const listening = createListeningSockets((direction, name, address) =>
    log.info({ event: "listening", name, direction, address: addressText(address) }),
  );
  const first = await listening.prepare(parts.config);
  const threads: WorkerThread[] = Array.from({ length: parts.workers }, (_, worker) =>
    startWorkerThread(
      parts.entry,
      {
        worker,
        config: parts.config,
        policies: parts.policies,
        identity: identityToWire(identity.state),
        sockets: first.sockets,
        cells,
      },
      {
        onAudit: (records) => audit.addRecords(records),
        onWantJwtSvid: ({ id, audience, hint }) =>
          void fetchJwtSvid(audience, hint).then(
            (svid) => threads[worker]?.post({ kind: "jwt-svid", id, svid }),
            (error: unknown) => {
              const problem = asCountersignError(error, "E_JWT_SVID_NONE", "a JWT-SVID could not be fetched");
              threads[worker]?.post({ kind: "no-jwt-svid", id, problem: errorToWire(problem) });
            },
          ),
        onLost: (error) => onLost(worker, error),
      },
    ),
  );
  const endAll = async (): Promise<void> => {
    await Promise.all(threads.map((thread) => thread.end()));
  };

  /** Workers want the same tokens at the same time: the agent is asked once. */
  function fetchJwtSvid(audience: string, hint: string): Promise<JwtSvid> {
    const key = JSON.stringify([audience, hint]);
    let request = svidRequests.get(key);
    if (request === undefined) {
      request =
        identity.fetchJwtSvid?.(audience, hint) ??
        Promise.reject(new CountersignError("E_JWT_SVID_NONE", `${identity.description} gives no JWT-SVIDs`));
      svidRequests.set(key, request);
      const forget = (): void => void svidRequests.delete(key);
      request.then(forget, forget);
    }
    return request;
  }
  function onLost(worker: number, error: CountersignError): void {
    if (gone.has(worker)) return;
    gone.add(worker);
    const count = heldBy(cells, worker);
    log.error(
      { event: "worker.lost", worker: worker + 1, records: count, err: error.cause ?? error },
      "a worker is lost",
    );
    const detail = `of worker ${worker + 1}: so many calls and refusals that it had under way have no record`;
    audit.event({ kind: "lifecycle", reason: error.code, detail, count });
    lost.resolve(error);
    parts.onChange();
  }
  /** Asks all; what one that is lost would have said is missing. */
  async function askAll(request: WorkerRequest): Promise<void> {
    await Promise.all(threads.map((thread) => thread.ask(request)));
  }
  async function sendIdentityTo(thread: WorkerThread): Promise<void> {
    const { state } = identity;
    try {
      await thread.ask({ kind: "identity", identity: identityToWire(state) });
    } catch {
      return; // the worker is lost, which has been said
    }
    const before = withIdentity.has(thread.worker);
    const now = "snapshot" in state;
    if (now) withIdentity.add(thread.worker);
    else withIdentity.delete(thread.worker);
    if (before !== now) parts.onChange();
  }
  async function refreshOne(thread: WorkerThread): Promise<void> {
    const wasSilent = silent.has(thread.worker);
    const late = Promise.withResolvers<undefined>();
    const cancel = systemClock.after(SILENT_AFTER_MS, () => late.resolve(undefined));
    const answered = thread.ask({ kind: "report" }).then(
      ({ report }) => {
        if (report !== undefined) reports.set(thread.worker, report);
        return true;
      },
      () => false,
    );
    const isThere = (await Promise.race([answered, late.promise])) ?? false;
    cancel();
    if (isThere) silent.delete(thread.worker);
    else silent.add(thread.worker);
    if (isThere === wasSilent) parts.onChange();
  }
  /** Two phases: everything that can fail happens in every worker before anything changes in one. */
  async function change(request: Extract<WorkerRequest, { kind: "prepare" }>): Promise<void> {
    const answers = await Promise.all(threads.map((thread) => thread.ask(request)));
    const problems = answers.flatMap((answer) => answer.problems ?? []).map(errorFromWire);
    if (problems.length > 0) {
      await askAll({ kind: "abandon" });
      throw new CountersignErrors(problems);
    }
    await askAll({ kind: "commit" });
  }

  try {
    await Promise.all(threads.map(({ started }) => started));
    first.commit();
  } catch (error) {
    await endAll();
    first.abandon();
    throw error;
  }

  const group: WorkerGroup = {
    get views() {
      return threads.flatMap(({ worker }): WorkerView[] => {
        const report = reports.get(worker);
        return report === undefined ? [] : [{ worker: worker + 1, answering: !silent.has(worker), report }];
      });
    },
    get problems() {
      const isServing = "snapshot" in identity.state;
      return threads.flatMap(({ worker }): CountersignError[] => {
        if (silent.has(worker))
          return [new CountersignError("E_WORKER_SILENT", `worker ${worker + 1} does not answer`)];
        if (isServing && !withIdentity.has(worker))
          return [new CountersignError("E_STARTING", `worker ${worker + 1} has no SVID yet`)];
        return [];
      });
    },
    lost: lost.promise,
    refresh() {
      refreshing ??= Promise.all(threads.map(refreshOne)).then(() => {
        refreshing = undefined;
      });
      return refreshing;
    },
    sendIdentity() {
      for (const thread of threads) void sendIdentityTo(thread); // never rejects
    },
    setPolicies: (policies) => change({ kind: "prepare", policies }),
    async setConfig(config, policies) {
      const sockets = await listening.prepare(config);
      try {
        await change({ kind: "prepare", config, policies, sockets: sockets.sockets });
      } catch (error) {
        sockets.abandon();
        throw error;
      }
      sockets.commit();
    },
    async drain(timeoutMs) {
      listening.close();
      const late = Promise.withResolvers<undefined>();
      const cancel = systemClock.after(timeoutMs + DRAIN_GRACE_MS, () => late.resolve(undefined));
      const cuts = await Promise.all(
        threads.map(async (thread) => {
          const drained = thread.ask({ kind: "drain", timeoutMs }).catch(() => undefined);
          const answer = await Promise.race([drained, late.promise]);
          // a worker that is gone or hangs takes with it what it has not handed over
          if (answer === undefined) {
            onLost(thread.worker, new CountersignError("E_WORKER_LOST", `worker ${thread.worker + 1} did not drain`));
            return heldBy(cells, thread.worker);
          }
          if (answer.report !== undefined) reports.set(thread.worker, answer.report);
          return answer.cut ?? 0;
        }),
      );
      cancel();
      await endAll();
      return cuts.reduce((sum, cut) => sum + cut, 0);
    },
  };
  group.sendIdentity();
  await group.refresh();
  return group;
}
