// The programs that make load or stand behind the peers, and what a workload needs of them.
import { join } from "node:path";
import { versionOf } from "./peers/peer.ts";
import type { Children } from "./processes.ts";
import type { Workload } from "./workloads.ts";

export interface Tools {
  readonly wrk: boolean;
  readonly h2load: boolean;
  readonly nghttpd: boolean;
  /** Without it the HTTP/1.1 origin is a program of ours, which takes more of the machine. */
  readonly nginx: boolean;
  /** The gRPC load and origin, built from bench/grpc; undefined: no Go, or its modules cannot be had. */
  readonly grpcBench: string | undefined;
}

/** `dir` takes what is built. Looks only for what the workloads need. */
export async function findTools(children: Children, workloads: readonly Workload[], dir: string): Promise<Tools> {
  // wrk -v exits 1 like wrk without arguments, so its presence is asked of the shell.
  const has = async (name: string): Promise<boolean> =>
    (await versionOf(children, "sh", ["-c", `command -v ${name}`])) !== undefined;
  const needsGrpc = workloads.some(({ load }) => load.kind === "grpc-stream");
  return {
    wrk: await has("wrk"),
    h2load: await has("h2load"),
    nghttpd: await has("nghttpd"),
    nginx: await has("nginx"),
    grpcBench: needsGrpc ? await buildGrpcBench(children, dir) : undefined,
  };
}

async function buildGrpcBench(children: Children, dir: string): Promise<string | undefined> {
  const program = join(dir, "grpc-bench");
  try {
    const source = join(import.meta.dirname, "grpc");
    await children.run("go build", "go", ["build", "-C", source, "-o", program, "."], 300_000);
    return program;
  } catch {
    return undefined;
  }
}

/** What is missing for a workload, and how to get it; undefined when it can be run. */
export function missingFor({ load }: Workload, tools: Tools): string | undefined {
  switch (load.kind) {
    case "wrk":
      return tools.wrk ? undefined : "apt-get install wrk";
    case "h2load":
      return tools.h2load && tools.nghttpd ? undefined : "apt-get install nghttp2-client nghttp2-server";
    case "grpc-stream":
      return tools.grpcBench === undefined ? "install Go 1.26 or later (https://go.dev/dl)" : undefined;
    case "websocket":
    case "tcp-bytes":
    case "tcp-connections":
      return undefined;
  }
}
