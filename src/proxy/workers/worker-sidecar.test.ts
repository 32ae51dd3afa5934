import { MessageChannel, type MessagePort } from "node:worker_threads";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { strictPolicyOptions } from "../../../test/support/strict-policy-options.ts";
import { createAuditCells } from "../../audit/shared-places.ts";
import { parseSidecarConfig } from "../../config/load-sidecar-config.ts";
import type { SidecarConfig } from "../../config/sidecar-config.ts";
import { createLogger } from "../../telemetry/logger.ts";
import { createListeningSockets, type ListeningSockets } from "./listening-sockets.ts";
import type { FromWorker, PolicyInputs, ToWorker, WorkerAnswer, WorkerRequest } from "./messages.ts";
import { runWorkerSidecar } from "./worker-sidecar.ts";

let port: MessagePort;
let sockets: ListeningSockets;
let said: FromWorker[];
let onSaid: () => void;
let nextId: number;

const policies = (...files: readonly { file: string; text: string }[]): PolicyInputs => ({
  files,
  options: strictPolicyOptions(),
});
function config(more: string): SidecarConfig {
  return parseSidecarConfig(
    `identity: { workloadApi: { address: "unix:///run/agent.sock" } }\n${more}\n`,
    "/etc/c.yaml",
    {},
  ).config;
}

/** The first message that fits and no earlier call took. */
async function next<T extends FromWorker>(fits: (message: FromWorker) => message is T): Promise<T> {
  for (;;) {
    const found = said.find(fits);
    if (found !== undefined) {
      said.splice(said.indexOf(found), 1);
      return found;
    }
    await new Promise<void>((resolve) => {
      onSaid = resolve;
    });
  }
}
async function ask(request: WorkerRequest): Promise<WorkerAnswer> {
  const id = nextId++;
  port.postMessage({ kind: "request", id, request } satisfies ToWorker);
  const isOurs = (message: FromWorker): message is Extract<FromWorker, { kind: "answer" }> =>
    message.kind === "answer" && message.id === id;
  return (await next(isOurs)).answer;
}
const isWanting = (message: FromWorker): message is Extract<FromWorker, { kind: "want-jwt-svid" }> =>
  message.kind === "want-jwt-svid";
const reportOf = async (): Promise<NonNullable<WorkerAnswer["report"]>> => {
  const { report } = await ask({ kind: "report" });
  if (report === undefined) throw new TypeError("there is no report");
  return report;
};

beforeEach(async () => {
  const channel = new MessageChannel();
  port = channel.port1;
  sockets = createListeningSockets(() => undefined);
  said = [];
  onSaid = () => undefined;
  nextId = 0;
  port.on("message", (message: FromWorker) => {
    said.push(message);
    onSaid();
  });
  const first = config(
    `outbound: [{ name: out, listen: "127.0.0.1:0", to: ["127.0.0.1:9"], identity: "spiffe://example.org/a", protocol: http, jwtSvid: { audience: them } }]`,
  );
  const prepared = await sockets.prepare(first);
  prepared.commit();
  await runWorkerSidecar(
    structuredClone({
      worker: 0,
      config: first,
      policies: policies(),
      identity: { kind: "waiting" as const, sinceMs: 0, problem: undefined },
      sockets: prepared.sockets,
      cells: createAuditCells(1),
    }),
    channel.port2,
    createLogger("silent"),
  );
});
afterEach(async () => {
  await ask({ kind: "drain", timeoutMs: 0 });
  port.close();
  sockets.close();
});

describe("a worker's sidecar", () => {
  it("compiles policies when it is asked to prepare, and uses them only once it is told to", async () => {
    const { policyVersion } = await reportOf();
    const text = `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: any, namespace: shop }
spec: { rules: [{}] }
`;
    expect(await ask({ kind: "prepare", policies: policies({ file: "a.yaml", text }) })).toEqual({});
    expect((await reportOf()).policyVersion).toBe(policyVersion);
    await ask({ kind: "commit" });
    expect((await reportOf()).policyVersion).not.toBe(policyVersion);
  });

  it("says what is wrong with policies that it cannot compile, and forgets what was abandoned", async () => {
    const { policyVersion } = await reportOf();
    const { problems } = await ask({
      kind: "prepare",
      policies: policies({ file: "b.yaml", text: "kind: Nothing\n" }),
    });
    expect(problems?.map(({ code }) => code)).toEqual([expect.stringMatching(/^E_POLICY_/)]);
    await ask({ kind: "abandon" });
    expect((await reportOf()).policyVersion).toBe(policyVersion);
  });

  it("takes a configuration with its sockets, whole", async () => {
    const changed = config(`inbound: [{ name: in, listen: "127.0.0.1:0", app: "127.0.0.1:9", protocol: http }]`);
    const prepared = await sockets.prepare(changed);
    await ask({ kind: "prepare", config: changed, policies: policies(), sockets: prepared.sockets });
    expect((await reportOf()).listeners.map(({ name }) => name)).toEqual(["out"]);
    await ask({ kind: "commit" });
    prepared.commit();
    expect((await reportOf()).listeners).toMatchObject([{ name: "in", direction: "inbound", connections: 0 }]);
  });

  it("asks the main thread for a JWT-SVID, and again after it got none", async () => {
    const wanted = await next(isWanting);
    expect(wanted).toMatchObject({ audience: "them", hint: "" });
    const problem = { code: "E_JWT_SVID_NONE", message: "none today", fix: undefined } as const;
    port.postMessage({ kind: "no-jwt-svid", id: wanted.id, problem } satisfies ToWorker);
    expect((await next(isWanting)).id).not.toBe(wanted.id);
  });
});
