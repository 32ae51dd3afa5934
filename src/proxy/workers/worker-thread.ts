import { Worker } from "node:worker_threads";
import { CountersignError, CountersignErrors } from "../../core/errors.ts";
import { errorFromWire } from "./identity-wire.ts";
import type { FromWorker, ToWorker, WorkerAnswer, WorkerRequest, WorkerStart } from "./messages.ts";

/** What a worker says without having been asked. */
export interface WorkerEvents {
  readonly onAudit: (records: Extract<FromWorker, { kind: "audit" }>["records"]) => void;
  readonly onWantJwtSvid: (request: Extract<FromWorker, { kind: "want-jwt-svid" }>) => void;
  /** It ended though nobody had said so. `error`: what it threw. */
  readonly onLost: (error: CountersignError) => void;
}

/** A worker thread as the main thread holds it. */
export interface WorkerThread {
  /** From 0. */
  readonly worker: number;
  /** Rejects with CountersignErrors when it cannot start. */
  readonly started: Promise<void>;
  /** Answers come in the order of the requests. Rejects with CountersignError E_WORKER_LOST when the worker ends. */
  ask(request: WorkerRequest): Promise<WorkerAnswer>;
  post(message: ToWorker): void;
  /** Ends the thread, wherever it is. */
  end(): Promise<void>;
}

export function startWorkerThread(entry: URL, start: WorkerStart, events: WorkerEvents): WorkerThread {
  const { worker } = start;
  const thread = new Worker(entry, { workerData: start, name: `worker ${worker + 1}` });
  const started = Promise.withResolvers<void>();
  const waiting = new Map<number, { resolve: (answer: WorkerAnswer) => void; reject: (error: Error) => void }>();
  let nextId = 0;
  let thrown: unknown;
  let over: CountersignError | undefined;
  let ending = false;

  thread.on("message", (message: FromWorker) => {
    switch (message.kind) {
      case "started":
        started.resolve();
        return;
      case "failed": {
        const [first, ...others] = message.problems.map(errorFromWire);
        started.reject(new CountersignErrors(first === undefined ? [] : [first, ...others]));
        return;
      }
      case "answer":
        waiting.get(message.id)?.resolve(message.answer);
        waiting.delete(message.id);
        return;
      case "audit":
        events.onAudit(message.records);
        return;
      case "want-jwt-svid":
        events.onWantJwtSvid(message);
    }
  });
  thread.on("error", (error) => {
    thrown = error;
  });
  // a message that cannot be read may be records: without them we must not go on
  thread.on("messageerror", (error) => {
    thrown = error;
    void thread.terminate();
  });
  thread.on("exit", () => {
    const because = thrown instanceof Error ? thrown.message : "it ended by itself";
    over = new CountersignError("E_WORKER_LOST", `worker ${worker + 1} ended: ${because}`, { cause: thrown });
    started.reject(new CountersignErrors([over]));
    for (const { reject } of waiting.values()) reject(over);
    waiting.clear();
    if (!ending) events.onLost(over);
  });
  // who starts it awaits this later, and may be gone by then
  started.promise.catch(() => undefined);

  return {
    worker,
    started: started.promise,
    ask(request) {
      if (over !== undefined) return Promise.reject(over);
      const { promise, resolve, reject } = Promise.withResolvers<WorkerAnswer>();
      const id = nextId++;
      waiting.set(id, { resolve, reject });
      thread.postMessage({ kind: "request", id, request } satisfies ToWorker);
      return promise;
    },
    post: (message) => thread.postMessage(message),
    async end() {
      ending = true;
      await thread.terminate();
    },
  };
}
