// What a sidecar still holds after a collection, asked of V8's inspector: how large a process is also depends on when it last collected.
import { type RawData, WebSocket } from "ws";

/** Makes Node print the address that `readInspectorUrl` finds, on a free port of loopback. */
export const inspectorFlag = "--inspect=127.0.0.1:0";

export function readInspectorUrl(stderrLine: string): string | undefined {
  return /^Debugger listening on (ws:\/\/127\.0\.0\.1:\d+\/\S+)$/.exec(stderrLine)?.[1];
}

export interface LiveMemory {
  /** Of V8's heap. */
  readonly heapBytes: number;
  /** Outside the heap, by what is on it: buffers, and what Node's own objects say they hold. */
  readonly externalBytes: number;
}

/** Collects a few times, since what a collection finds dead may be what keeps other things until the next. Rejects when the process has gone. */
export async function measureLiveMemory(url: string, signal: AbortSignal): Promise<LiveMemory> {
  const socket = new WebSocket(url, { perMessageDeflate: false });
  const abort = (): void => socket.terminate();
  signal.addEventListener("abort", abort);
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once("open", resolve);
      socket.on("error", reject);
      socket.once("close", () => reject(new Error("the inspector's connection has closed")));
    });
    for (let collected = 0; collected < 3; collected++) await call(socket, "HeapProfiler.collectGarbage");
    const expression =
      "(({ heapUsed, external }) => ({ heapBytes: heapUsed, externalBytes: external }))(process.memoryUsage())";
    const { result } = (await call(socket, "Runtime.evaluate", { expression, returnByValue: true })) as Evaluated;
    return result.value;
  } finally {
    signal.removeEventListener("abort", abort);
    socket.terminate();
  }
}

interface Answer {
  readonly result: unknown;
}

interface Evaluated {
  readonly result: { readonly value: LiveMemory };
}

/** One at a time: the next message is the answer. */
function call(socket: WebSocket, method: string, params: object = {}): Promise<unknown> {
  return new Promise((resolve, reject) => {
    socket.once("close", () => reject(new Error(`${method}: the inspector's connection has closed`)));
    // as ws is set up here, a message is one Buffer
    socket.once("message", (data: RawData) =>
      resolve((JSON.parse((data as Buffer).toString("utf8")) as Answer).result),
    );
    socket.send(JSON.stringify({ id: 1, method, params }));
  });
}
