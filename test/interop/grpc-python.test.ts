import { join } from "node:path";
import { expect, it } from "vitest";
import { freePorts, isListening } from "../../bench/ports.ts";
import { finalRecords } from "../support/audit-records.ts";
import { countersignProcesses } from "../support/countersign-process.ts";
import { startPair } from "../support/sidecar-pair.ts";
import { succeeds, temporaryFolder } from "./issuer-process.ts";
import { runProgram, startProgram } from "./run-program.ts";

const PACKAGE = "grpcio==1.85.1";
const script = join(import.meta.dirname, "python-grpc", "echo.py");

it("Python's grpcio, client and server, talk through a pair of sidecars: all kinds of calls", async (test) => {
  test.skip(!succeeds("python3", ["-m", "venv", "--help"]), "install Python 3.10 or later with venv to run it");
  const folder = temporaryFolder();
  test.onTestFinished(() => folder.remove());
  const venv = join(folder.path, "venv");
  // of its own: packages of the system's Python may not fit together with newer ones
  test.skip(!succeeds("python3", ["-m", "venv", venv]), "install python3-venv to run it");
  const python = join(venv, "bin", "python");
  const installed = succeeds(python, ["-m", "pip", "install", "--quiet", PACKAGE]);
  test.skip(!installed, `${PACKAGE} cannot be installed from PyPI`);

  const [appPort = 0] = await freePorts(1);
  await using _app = await startProgram(python, [script, "serve", String(appPort)], () => isListening(appPort));
  const processes = countersignProcesses();
  test.onTestFinished(() => processes.close());
  const { port } = await startPair({ dir: folder.path, processes, appPort });

  const { code, output } = await runProgram(python, [script, "call", String(port)], 60_000);
  expect(code, output).toBe(0);
  const steps = output
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as unknown);
  expect(steps).toEqual([
    { step: "unary", intact: true, trailer: [0, 255, 1] },
    { step: "collect", answer: "1000000" },
    { step: "repeat", count: 5000 },
    { step: "converse", same: true },
    { step: "fail", code: "FAILED_PRECONDITION", details: "not ready: ünïcode" },
    { step: "deadline", code: "DEADLINE_EXCEEDED", seconds: expect.closeTo(1, 0) as number },
    { step: "unknown", code: "UNIMPLEMENTED" },
    { step: "cancel", cancelled: true },
  ]);
  const methods = (): (string | undefined)[] =>
    finalRecords(`${folder.path}/orders.jsonl`).map(({ grpc }) => grpc?.method);
  await expect.poll(methods).toEqual(["Unary", "Collect", "Repeat", "Converse", "Fail", "Wait", "Nothing", "Wait"]);
});
