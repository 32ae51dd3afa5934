import { createServer, type ServerHttp2Session, type ServerHttp2Stream } from "node:http2";
import type { AddressInfo } from "node:net";
import { Client, credentials, type ServiceError, status } from "@grpc/grpc-js";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { finalRecords } from "../support/audit-records.ts";
import { countersignProcesses } from "../support/countersign-process.ts";
import { ALLOW_WEB } from "../support/mesh.ts";
import { startPair } from "../support/sidecar-pair.ts";
import { temporaryFolder } from "./issuer-process.ts";

const denyAdmin = `---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: no-admin, namespace: shop }
spec:
  action: DENY
  rules: [{ to: [{ operation: { paths: [/shop.Admin/*] } }] }]
`;

describe("a gRPC call that is not served", () => {
  const folder = temporaryFolder();
  const processes = countersignProcesses();
  const app = createServer();
  const sessions = new Set<ServerHttp2Session>();
  let calls = 0;
  let client: Client;

  beforeAll(async () => {
    app.on("stream", (stream: ServerHttp2Stream) => {
      calls++;
      stream.respond({ ":status": 200, "content-type": "application/grpc" }, { waitForTrailers: true });
      stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
      stream.end(Buffer.alloc(5));
    });
    app.on("session", (session) => sessions.add(session));
    await new Promise<void>((resolve) => app.listen(0, "127.0.0.1", resolve));
    const { port: appPort } = app.address() as AddressInfo;
    const pair = await startPair({ dir: folder.path, processes, appPort, policies: ALLOW_WEB + denyAdmin });
    client = new Client(`127.0.0.1:${pair.port}`, credentials.createInsecure());
  });
  afterAll(async () => {
    client.close();
    await processes.close();
    folder.remove();
  });

  const call = (path: string): Promise<ServiceError | undefined> =>
    new Promise((resolve) => {
      const asIs = (bytes: Buffer): Buffer => bytes;
      client.makeUnaryRequest(path, asIs, asIs, Buffer.alloc(0), (error) => resolve(error ?? undefined));
    });

  it("is answered PERMISSION_DENIED with a message that names the code, and never reaches the app", async () => {
    expect(await call("/shop.Orders/Get")).toBeUndefined();
    expect(calls).toBe(1);
    const error = await call("/shop.Admin/Drop");
    expect(error?.code).toBe(status.PERMISSION_DENIED);
    expect(error?.details).toMatch(/E_POLICY_DENIED_BY_RULE/);
    expect(error?.metadata.get("x-countersign-code")).toEqual(["E_POLICY_DENIED_BY_RULE"]);
    expect(calls).toBe(1);
    await expect
      .poll(() => finalRecords(`${folder.path}/orders.jsonl`).find(({ path }) => path === "/shop.Admin/Drop"))
      .toMatchObject({
        decision: "deny",
        reason: "E_POLICY_DENIED_BY_RULE",
        rule: "ns[shop]-policy[no-admin]-rule[0]",
        grpc: { service: "shop.Admin", method: "Drop" },
      });
  });

  it("is answered UNAVAILABLE once the app is gone", async () => {
    const closed = new Promise((resolve) => app.close(resolve));
    for (const session of sessions) session.destroy();
    await closed;
    const error = await call("/shop.Orders/Get");
    expect(error?.code).toBe(status.UNAVAILABLE);
    expect(error?.metadata.get("x-countersign-code")[0]).toMatch(/^E_/);
  });
});
