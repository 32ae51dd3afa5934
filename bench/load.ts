// Puts load on an outbound listener, from a separate process whose CPU time is not counted.
import { join } from "node:path";
import type { Children } from "./processes.ts";
import type { HttpWorkload, TcpWorkload } from "./workloads.ts";

export interface LoadReport {
  /** Requests answered, or bytes relayed. */
  readonly units: number;
  readonly seconds: number;
  /** Microseconds; 0 for TCP. */
  readonly p50Us: number;
  readonly p99Us: number;
  /** Failed connects, reads and writes, timeouts, and statuses from 400 on. */
  readonly errors: number;
}

/** Runs wrk: a closed loop with one thread. Latency is from a request's first byte to its response's last. */
export async function runWrk(
  children: Children,
  workload: HttpWorkload,
  port: number,
  seconds: number,
): Promise<LoadReport> {
  const output = await children.run(
    "wrk",
    "wrk",
    [
      `-t1`,
      `-c${workload.connections}`,
      `-d${seconds}s`,
      "--timeout=10s",
      `-s${join(import.meta.dirname, "wrk-report.lua")}`,
      ...(workload.newConnections ? ["-HConnection: close"] : []),
      `http://127.0.0.1:${port}${workload.path}`,
      "--",
      String(workload.requestBytes),
    ],
    seconds * 1_000 + 20_000,
  );
  const report = /^REPORT (.+)$/m.exec(output)?.[1];
  if (report === undefined) throw new Error(`wrk printed no report:\n${output}`);
  const { requests, ...rest } = JSON.parse(report) as Omit<LoadReport, "units"> & { readonly requests: number };
  return { units: requests, ...rest };
}

/** Sends the workload's bytes over one connection and checks that they arrived whole. */
export async function runTcpSender(children: Children, workload: TcpWorkload, port: number): Promise<LoadReport> {
  const program = join(import.meta.dirname, "tcp-sender.ts");
  const output = await children.run("tcp-sender", process.execPath, [program, `${port}`, `${workload.bytes}`], 120_000);
  const { seconds, intact } = JSON.parse(output) as { readonly seconds: number; readonly intact: boolean };
  return { units: workload.bytes, seconds, p50Us: 0, p99Us: 0, errors: intact ? 0 : 1 };
}
