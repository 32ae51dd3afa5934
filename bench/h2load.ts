// h2load (nghttp2) as load, for HTTP/2, gRPC and fixed rates.
import { writeFileSync } from "node:fs";
import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import type { LoadReport } from "./load-report.ts";
import { percentile } from "./load-report.ts";
import { grpcMessage, grpcPath } from "./origins.ts";
import type { Children } from "./processes.ts";
import type { H2loadLoad, Workload } from "./workloads.ts";

/** `dir` takes its files. Response times come from its log: from a request's first byte to its response's last. */
export async function runH2load(
  children: Children,
  { wire }: Workload,
  load: H2loadLoad,
  dir: string,
  port: number,
  seconds: number,
): Promise<LoadReport> {
  const log = join(dir, "h2load.log");
  const output = await children.run(
    "h2load",
    "h2load",
    [
      ...(wire === "http1" ? ["--h1"] : []),
      `-c${load.connections}`,
      `-m${load.streams}`,
      `-D${seconds}`,
      `--log-file=${log}`,
      ...(load.rate === undefined ? [] : [`--rps=${load.rate / load.connections}`]),
      ...(load.grpc ? grpcArguments(dir) : []),
      `http://127.0.0.1:${port}${load.grpc ? grpcPath : "/small"}`,
    ],
    seconds * 1_000 + 20_000,
  );
  const took = await responseTimes(log);
  return { ...readSummary(output, seconds), p50Us: percentile(took, 0.5), p99Us: percentile(took, 0.99) };
}

function grpcArguments(dir: string): string[] {
  const body = join(dir, "grpc-message");
  writeFileSync(body, grpcMessage);
  return ["-d", body, "-H", "content-type: application/grpc", "-H", "te: trailers"];
}

/** Reads the end of h2load's output. Requests that were under way at the end are neither done nor errors. An HTTP/1.1 answer
 *  without a reason phrase, which is right (RFC 9112 section 4), is "failed" to h2load: statuses are counted instead. */
export function readSummary(output: string, seconds: number): Omit<LoadReport, "p50Us" | "p99Us"> {
  const counts = /^requests: .* (\d+) done, \d+ succeeded, \d+ failed, (\d+) errored, (\d+) timeout/m.exec(output);
  const statuses = /^status codes: .* (\d+) 4xx, (\d+) 5xx/m.exec(output);
  if (counts === null || statuses === null) throw new Error(`h2load printed no summary:\n${output}`);
  const [done = 0, errored = 0, timeouts = 0] = counts.slice(1).map(Number);
  const [fourHundreds = 0, fiveHundreds = 0] = statuses.slice(1).map(Number);
  const errors = errored + timeouts + fourHundreds + fiveHundreds;
  return { units: done, calls: done - errored - timeouts, seconds, errors };
}

async function responseTimes(log: string): Promise<Float64Array> {
  const lines = (await readFile(log, "latin1")).split("\n");
  await rm(log);
  const times = lines.map((line) => Number(line.split("\t")[2] ?? Number.NaN));
  return Float64Array.from(times.filter((took) => !Number.isNaN(took)));
}
