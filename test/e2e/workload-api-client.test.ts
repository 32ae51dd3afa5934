// Our Workload API client with our issuer: all five calls over a real socket.
import { mkdtempSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { parseIssuerConfig } from "../../src/certs/issuer/issuer-config.ts";
import { type RunningIssuer, startIssuer } from "../../src/certs/issuer/start-issuer.ts";
import { verifyJwtSvid } from "../../src/certs/jwt-svid/verify-jwt-svid.ts";
import type { X509BundlesResponse } from "../../src/certs/workload-api/proto.ts";
import { readJwtBundles } from "../../src/certs/workload-api/read-jwt-bundles.ts";
import { readX509Response } from "../../src/certs/workload-api/read-x509-response.ts";
import {
  createWorkloadApiClient,
  type StreamHandlers,
  type WorkloadApiClient,
} from "../../src/certs/workload-api/workload-api-client.ts";
import { systemClock } from "../../src/sys/system-clock.ts";

const ORDERS = "spiffe://example.org/orders";
const TIMEOUT_MS = 10_000;
let folder: string;
let issuer: RunningIssuer;
let client: WorkloadApiClient;
let uid = 1001;

beforeEach(async () => {
  folder = realpathSync(mkdtempSync(join(tmpdir(), "countersign-client-")));
  uid = 1001;
  const yaml = `trustDomain: example.org
socket: unix://${folder}/sock/s
state: ${folder}/state
entries: [{ id: ${ORDERS}, selectors: ["unix:uid:1001"], hint: main }]`;
  const silent = (): void => undefined;
  issuer = await startIssuer(parseIssuerConfig(yaml, join(folder, "issuer.yaml"), {}).config, {
    clock: systemClock,
    peers: {
      seesOtherUsers: true,
      open: () => ({
        credentials: { pid: 4321, uid, gid: 100 },
        inspect: () => Promise.resolve({ path: "/opt/app", sha256: undefined }),
        close: silent,
      }),
    },
    audit: { problem: undefined, event: silent },
    log: { info: silent, warn: silent, error: silent },
  });
  client = createWorkloadApiClient(issuer.address);
});
afterEach(async () => {
  await issuer.close();
  rmSync(folder, { recursive: true });
});

/** The first message of a stream. Rejects with the problem that ends it before. */
function first<T>(watch: (handlers: StreamHandlers<T>) => () => void): Promise<T> {
  return new Promise((resolve, reject) => {
    const hangUp = watch({
      onMessage(message) {
        hangUp();
        resolve(message);
      },
      onEnd: reject,
    });
  });
}

describe("the client takes from the issuer", () => {
  test("SVIDs and bundles that agree with each other", async () => {
    const x509 = readX509Response(await first((handlers) => client.watchX509Svids(handlers)), "main", Date.now());
    expect(x509.svids.map(({ spiffeId, hint }) => [spiffeId, hint])).toEqual([[ORDERS, "main"]]);
    const { bundles } = await first<X509BundlesResponse>((handlers) => client.watchX509Bundles(handlers));
    const [own] = x509.bundles.values();
    expect(Object.keys(bundles)).toEqual(["spiffe://example.org"]);
    expect(Buffer.from(bundles["spiffe://example.org"] ?? [])).toEqual(own?.authorities[0]?.raw);
  });

  test("JWT-SVIDs that its JWT bundle proves and that it takes itself", async () => {
    const { svids } = await client.fetchJwtSvids({ audience: ["payments"], spiffeId: "" }, TIMEOUT_MS);
    const token = svids[0]?.svid ?? "";
    const bundles = readJwtBundles(await first((handlers) => client.watchJwtBundles(handlers)));
    expect(verifyJwtSvid(token, ["payments"], bundles, Date.now())).toMatchObject({
      kind: "verified",
      spiffeId: ORDERS,
    });
    const answer = await client.validateJwtSvid({ audience: "payments", svid: token }, TIMEOUT_MS);
    expect(answer.spiffeId).toBe(ORDERS);
    await expect(client.validateJwtSvid({ audience: "other", svid: token }, TIMEOUT_MS)).rejects.toMatchObject({
      code: "E_WORKLOAD_API_REFUSED",
    });
  });

  test("a refusal, by code, on each of the calls", async () => {
    uid = 1002;
    const denied = { code: "E_WORKLOAD_API_DENIED" };
    await expect(first((handlers) => client.watchX509Svids(handlers))).rejects.toMatchObject(denied);
    await expect(first((handlers) => client.watchX509Bundles(handlers))).rejects.toMatchObject(denied);
    await expect(first((handlers) => client.watchJwtBundles(handlers))).rejects.toMatchObject(denied);
    const request = { audience: ["payments"], spiffeId: "" };
    await expect(client.fetchJwtSvids(request, TIMEOUT_MS)).rejects.toMatchObject(denied);
    await expect(client.validateJwtSvid({ audience: "a", svid: "x" }, TIMEOUT_MS)).rejects.toMatchObject(denied);
  });
});

test("a stream that was hung up says nothing more, and a call to nobody ends in time", async () => {
  let heard = 0;
  const handlers = { onMessage: () => heard++, onEnd: () => heard++ };
  client.watchX509Svids(handlers)();
  await first((others) => client.watchX509Svids(others));
  expect(heard).toBe(0);
  const nobody = createWorkloadApiClient(`unix://${folder}/nobody.sock`);
  await expect(nobody.fetchJwtSvids({ audience: ["a"], spiffeId: "" }, 2000)).rejects.toMatchObject({
    code: "E_WORKLOAD_API_UNAVAILABLE",
  });
});
