import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { freePorts, isListening } from "../../bench/ports.ts";
import { finalRecords } from "../support/audit-records.ts";
import { countersignProcesses } from "../support/countersign-process.ts";
import { type SidecarPair, startPair } from "../support/sidecar-pair.ts";
import { goHint, goTool } from "./go-tools.ts";
import { temporaryFolder } from "./issuer-process.ts";
import { type RunningProgram, runProgram, startProgram } from "./run-program.ts";

/** The standard cases of gRPC's interoperability tests, with the calls each makes (undefined: its deadline may end it before it is sent). Left out: those that need credentials of a cloud, and
 *  those of load reports, which this server does not send. */
const cases: readonly (readonly [string, number | undefined])[] = [
  ["empty_unary", 1],
  ["large_unary", 1],
  ["client_streaming", 1],
  ["server_streaming", 1],
  ["ping_pong", 1],
  ["empty_stream", 1],
  ["timeout_on_sleeping_server", undefined],
  ["cancel_after_begin", 1],
  ["cancel_after_first_response", 1],
  ["status_code_and_message", 2],
  ["special_status_message", 1],
  ["custom_metadata", 2],
  ["unimplemented_method", 1],
  ["unimplemented_service", 1],
];

describe("grpc-go's interop client and server through a pair of sidecars", () => {
  const folder = temporaryFolder();
  const processes = countersignProcesses();
  const client = goTool("client");
  const server = goTool("server");
  let app: RunningProgram | undefined;
  let pair: SidecarPair | undefined;

  beforeAll(async () => {
    if (server === undefined) return;
    const [port = 0] = await freePorts(1);
    app = await startProgram(server, [`-port=${port}`], () => isListening(port));
    pair = await startPair({ dir: folder.path, processes, appPort: port });
  });
  afterAll(async () => {
    await processes.close();
    await app?.[Symbol.asyncDispose]();
    folder.remove();
  });

  it.for(cases)("%s", { timeout: 60_000 }, async ([name, calls], test) => {
    if (client === undefined || pair === undefined) return test.skip(goHint);
    // a call that its caller gives up with its first bytes is recorded here, and never leaves for the other side
    const records = (): number => finalRecords(`${folder.path}/web.jsonl`).length;
    const before = records();
    const target = ["-server_host=127.0.0.1", `-server_port=${pair.port}`];
    const { code, output } = await runProgram(client, [...target, `-test_case=${name}`], 50_000);
    expect(output).not.toContain("rror:");
    expect(code, output).toBe(0);
    if (calls !== undefined) await expect.poll(() => records() - before, { timeout: 5_000 }).toBe(calls);
  });

  it("names service, method and status of the calls in the audit log", async (test) => {
    if (pair === undefined) return test.skip(goHint);
    const records = finalRecords(`${folder.path}/orders.jsonl`);
    expect(records.map(({ grpc }) => grpc)).toContainEqual({
      service: "grpc.testing.TestService",
      method: "EmptyCall",
      status: 0,
    });
    expect(records.map(({ grpc }) => grpc)).toContainEqual({
      service: "grpc.testing.TestService",
      method: "UnimplementedCall",
      status: 12,
    });
  });
});
