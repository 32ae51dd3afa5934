// Puts load on a port, from a separate process whose CPU time is not counted.
import { join } from "node:path";
import { runH2load } from "./h2load.ts";
import type { LoadReport } from "./load-report.ts";
import type { Children } from "./processes.ts";
import type { Tools } from "./tools.ts";
import type { Workload, WrkLoad } from "./workloads.ts";

/** `dir` takes the load's own files. A load that counts bytes ends with its bytes, the others after `seconds`. */
export async function runLoad(
  children: Children,
  workload: Workload,
  tools: Tools,
  dir: string,
  port: number,
  seconds: number,
): Promise<LoadReport> {
  const { load } = workload;
  switch (load.kind) {
    case "wrk":
      return runWrk(children, load, port, seconds);
    case "h2load":
      return runH2load(children, workload, load, dir, port, seconds);
    case "grpc-stream": {
      if (tools.grpcBench === undefined) throw new TypeError("the gRPC program was not built");
      const args = ["load", port, load.connections, load.streams, seconds].map(String);
      return readReport(await children.run("grpc load", tools.grpcBench, args, seconds * 1_000 + 20_000));
    }
    case "websocket":
      return runNode(children, "websocket-load.ts", [port, load.connections, seconds], seconds);
    case "tcp-bytes":
      return runNode(children, "tcp-bytes.ts", [port, load.bytes], 100);
    case "tcp-connections":
      return runNode(children, "tcp-connections.ts", [port, load.connections, seconds], seconds);
  }
}

/** wrk: a closed loop with one thread. Latency is from a request's first byte to its response's last. */
async function runWrk(children: Children, load: WrkLoad, port: number, seconds: number): Promise<LoadReport> {
  const { connections, path, requestBytes, newConnections } = load;
  const more = newConnections ? ["-HConnection: close"] : [];
  return runWrkScript(children, "wrk-report.lua", [String(requestBytes)], seconds, [
    `-c${connections}`,
    ...more,
    `http://127.0.0.1:${port}${path}`,
  ]);
}

/** wrk with one of the scripts beside this file, which prints the report. */
export async function runWrkScript(
  children: Children,
  script: string,
  scriptArgs: readonly string[],
  seconds: number,
  args: readonly string[],
): Promise<LoadReport> {
  const fixed = ["-t1", `-d${seconds}s`, "--timeout=10s", `-s${join(import.meta.dirname, script)}`];
  const all = [...fixed, ...args, "--", ...scriptArgs];
  const output = await children.run("wrk", "wrk", all, seconds * 1_000 + 20_000);
  const report = /^REPORT (.+)$/m.exec(output)?.[1];
  if (report === undefined) throw new Error(`wrk printed no report:\n${output}`);
  return readReport(report);
}

async function runNode(
  children: Children,
  program: string,
  args: readonly number[],
  seconds: number,
): Promise<LoadReport> {
  const path = join(import.meta.dirname, program);
  return readReport(
    await children.run(program, process.execPath, [path, ...args.map(String)], seconds * 1_000 + 20_000),
  );
}

function readReport(json: string): LoadReport {
  return JSON.parse(json) as LoadReport;
}
