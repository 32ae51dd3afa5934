import { Agent, request } from "node:http";

/** What became of one small call. `answeredMs` is by performance.now(), at the end of the answer. */
export interface CallResult {
  readonly path: string;
  readonly ok: boolean;
  readonly sentMs: number;
  readonly answeredMs: number;
  /** Status and code of an answer that was not the app's, or why there was none. */
  readonly failure: string | undefined;
}

/** The app's answer to every small call (see app.ts). */
export const smallAnswer = "ok\n";

export function createAgent(maxSockets: number): Agent {
  return new Agent({ keepAlive: true, maxSockets });
}

/** One GET through an outbound listener. Never throws and never retries: a failure is a result. */
export function callOnce(agent: Agent, port: number, path: string): Promise<CallResult> {
  const sentMs = performance.now();
  return new Promise((resolve) => {
    const settle = (failure: string | undefined): void => {
      resolve({ path, ok: failure === undefined, sentMs, answeredMs: performance.now(), failure });
    };
    const call = request({ agent, host: "127.0.0.1", port, path, timeout: 10_000 }, (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (part: string) => {
        text += part;
      });
      response.on("error", (error) => settle(error.message));
      response.on("end", () => {
        if (response.statusCode === 200 && text === smallAnswer) settle(undefined);
        else settle(`${response.statusCode ?? 0} ${String(response.headers["x-countersign-code"] ?? "")}`);
      });
    });
    call.on("timeout", () => call.destroy(new Error("no answer in 10 s")));
    call.on("error", (error) => settle(error.message));
    call.end();
  });
}

/** The first few different failures, for a FAIL line. */
export function describeFailures(results: readonly CallResult[]): string {
  const counts = new Map<string, number>();
  for (const { failure } of results) if (failure !== undefined) counts.set(failure, (counts.get(failure) ?? 0) + 1);
  return Array.from(counts, ([failure, count]) => `${count} × ${failure}`)
    .slice(0, 5)
    .join("; ");
}
