import { createPrivateKey, X509Certificate } from "node:crypto";
import { once } from "node:events";
import { existsSync, mkdtempSync, realpathSync, rmSync } from "node:fs";
import { connect as connectHttp2 } from "node:http2";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Metadata, status } from "@grpc/grpc-js";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type FakeClock, fakeClock } from "../../../test/support/fake-clock.ts";
import { type TestClient, workloadApiClient, workloadMetadata } from "../../../test/support/workload-api-client.ts";
import type { AuditEvent } from "../../audit/serialise-record.ts";
import { CountersignError } from "../../core/errors.ts";
import { parseTrustDomain } from "../../core/spiffe-id.ts";
import type { LocalPeer, PeerCredentialsReader } from "../../sys/local-peer.ts";
import { verifyOwnSvid } from "../own-svid.ts";
import { makeTrustBundle } from "../trust-bundle.ts";
import type {
  JwtBundlesResponse,
  JwtSvidResponse,
  ValidateJwtSvidResponse,
  X509BundlesResponse,
  X509SvidResponse,
} from "../workload-api/proto.ts";
import { type IssuerConfig, parseIssuerConfig } from "./issuer-config.ts";
import { defaultIssuerLimits, type IssuerLimits, type RunningIssuer, startIssuer } from "./start-issuer.ts";

const HOUR = 3_600_000;
const trustDomain = parseTrustDomain("example.org");

/** What the faked kernel says about whoever connects next or is looked at. */
interface FakePeer {
  uid: number;
  path: string | undefined;
  problem: CountersignError | undefined;
  closed: number;
}

let folder: string;
let clock: FakeClock;
let peer: FakePeer;
let events: Record<string, unknown>[];
let records: AuditEvent[];
let issuers: RunningIssuer[];
let clients: TestClient[];

beforeEach(() => {
  folder = realpathSync(mkdtempSync(join(tmpdir(), "countersign-")));
  clock = fakeClock();
  peer = { uid: 1001, path: "/opt/app", problem: undefined, closed: 0 };
  events = [];
  records = [];
  issuers = [];
  clients = [];
});
afterEach(async () => {
  for (const client of clients) client.close();
  await Promise.all(issuers.map((issuer) => issuer.close()));
  rmSync(folder, { recursive: true });
});

const peers: PeerCredentialsReader = {
  seesOtherUsers: true,
  open(): LocalPeer {
    if (peer.problem !== undefined) throw peer.problem;
    const shown = peer;
    return {
      credentials: { pid: 4321, uid: shown.uid, gid: 100 },
      inspect: () =>
        shown.problem === undefined
          ? Promise.resolve({ path: shown.path, sha256: undefined })
          : Promise.reject(shown.problem),
      close: () => {
        shown.closed++;
      },
    };
  },
};

const config = (entries: string, more = ""): IssuerConfig =>
  parseIssuerConfig(
    `trustDomain: example.org\nsocket: unix://${folder}/sock/s\nstate: ${folder}/state\n${more}\nentries: [${entries}]`,
    join(folder, "issuer.yaml"),
    {},
  ).config;
const orders = `{ id: spiffe://example.org/orders, selectors: ["unix:uid:1001"], hint: main }`;
const ordersAdmin = `{ id: spiffe://example.org/admin, selectors: ["unix:uid:1001", "unix:path:/opt/app"], hint: admin }`;

async function start(configuration: IssuerConfig, limits: Partial<IssuerLimits> = {}): Promise<RunningIssuer> {
  const write = (fields: object): void => void events.push({ ...fields });
  const issuer = await startIssuer(configuration, {
    clock,
    peers,
    audit: { problem: undefined, event: (record) => void records.push(record) },
    log: { info: write, warn: write, error: write },
    limits: { ...defaultIssuerLimits, ...limits },
  });
  issuers.push(issuer);
  return issuer;
}
async function client(issuer: RunningIssuer): Promise<TestClient> {
  const made = await workloadApiClient(issuer.address);
  clients.push(made);
  return made;
}
const refused = (code: status, text: string): Error =>
  expect.objectContaining({ code, details: expect.stringContaining(text) as string }) as Error;
const serialOf = ({ svids }: X509SvidResponse): string | undefined =>
  svids.map(({ x509Svid }) => new X509Certificate(x509Svid).serialNumber).join(" ");
const idsOf = ({ svids }: X509SvidResponse): string[] => svids.map(({ spiffeId }) => spiffeId);
/** DER certificates, one after the other. */
function certificatesIn(der: Uint8Array): Buffer[] {
  const found: Buffer[] = [];
  for (let rest = Buffer.from(der); rest.length > 0; ) {
    const { raw } = new X509Certificate(rest.subarray(0, rest.readUInt16BE(2) + 4));
    found.push(raw);
    rest = rest.subarray(raw.length);
  }
  return found;
}

describe("FetchX509SVID", () => {
  it("gives an SVID that passes every rule for peers, with its key, bundle and hint", async () => {
    const caller = await client(await start(config(orders)));
    const { svids, crl, federatedBundles } = await caller.stream<X509SvidResponse>("FetchX509SVID").next();
    const [svid] = svids;
    if (svid === undefined) throw new TypeError("no SVID");
    expect({ crl, federatedBundles, count: svids.length }).toEqual({ crl: [], federatedBundles: {}, count: 1 });
    expect(svid.hint).toBe("main");
    const bundles = new Map([[trustDomain, makeTrustBundle(trustDomain, certificatesIn(svid.bundle))]]);
    const key = createPrivateKey({ key: Buffer.from(svid.x509SvidKey), format: "der", type: "pkcs8" });
    const verified = verifyOwnSvid({ chainDer: [svid.x509Svid], key, hint: "" }, bundles, clock.nowMs());
    expect(verified.spiffeId).toBe("spiffe://example.org/orders");
    expect(verified.notAfterMs).toBe(clock.nowMs() + HOUR);
    expect(events).toContainEqual({
      event: "issued",
      kind: "x509",
      spiffeId: "spiffe://example.org/orders",
      serial: verified.serial,
      notAfter: "2030-01-01T01:00:00.000Z",
      uid: 1001,
      gid: 100,
      pid: 4321,
    });
  });

  it("pushes a new SVID at half of the old one's life", async () => {
    const stream = (await client(await start(config(orders)))).stream<X509SvidResponse>("FetchX509SVID");
    const first = await stream.next();
    clock.advance(HOUR / 2 - 1);
    clock.advance(1);
    const second = await stream.next();
    expect(serialOf(second)).not.toBe(serialOf(first));
  });

  it("pushes at the fixed interval of svidRotation, all streams the same one", async () => {
    const issuer = await start(config(orders, "svidRotation: 2s"));
    const [a, b] = [await client(issuer), await client(issuer)].map((each) =>
      each.stream<X509SvidResponse>("FetchX509SVID"),
    );
    const seen = new Set<string | undefined>();
    for (let i = 0; i < 4; i++) {
      // oxlint-disable-next-line no-await-in-loop -- rotations come one after the other
      const [one, other] = await Promise.all([a?.next(), b?.next()]);
      expect(serialOf(one ?? expect.fail())).toBe(serialOf(other ?? expect.fail()));
      seen.add(serialOf(one ?? expect.fail()));
      clock.advance(2000);
    }
    expect(seen.size).toBe(4);
  });

  it("gives several SVIDs to a caller of several entries, in the file's order", async () => {
    const issuer = await start(config(`${orders}, ${ordersAdmin}`, "development: true"));
    const message = await (await client(issuer)).stream<X509SvidResponse>("FetchX509SVID").next();
    expect(message.svids.map(({ spiffeId, hint }) => [spiffeId, hint])).toEqual([
      ["spiffe://example.org/orders", "main"],
      ["spiffe://example.org/admin", "admin"],
    ]);
  });

  it("pushes what a reload changes, and only that", async () => {
    const issuer = await start(config(`${orders}, ${ordersAdmin}`, "development: true"));
    const stream = (await client(issuer)).stream<X509SvidResponse>("FetchX509SVID");
    const before = await stream.next();
    issuer.reload(config(`${orders}, ${ordersAdmin}`, "development: true"));
    issuer.reload(config(orders));
    const after = await stream.next();
    expect(idsOf(after)).toEqual(["spiffe://example.org/orders"]);
    expect(serialOf(before)?.startsWith(serialOf(after) ?? "?")).toBe(true);
    issuer.reload(config(""));
    await expect(stream.next()).rejects.toThrow(refused(status.PERMISSION_DENIED, "no entry matches"));
  });

  it("looks at the caller again at each push: another program gets nothing of the first one's", async () => {
    const issuer = await start(config(ordersAdmin));
    const stream = (await client(issuer)).stream<X509SvidResponse>("FetchX509SVID");
    await stream.next();
    peer.path = "/tmp/evil";
    clock.advance(HOUR / 2);
    await expect(stream.next()).rejects.toThrow(
      refused(status.PERMISSION_DENIED, "no entry matches uid 1001, gid 100, pid 4321, /tmp/evil"),
    );
  });

  it("ends the stream of a caller that is gone", async () => {
    const stream = (await client(await start(config(orders)))).stream<X509SvidResponse>("FetchX509SVID");
    await stream.next();
    peer.problem = new CountersignError("E_PEER_CREDENTIALS", "process 4321 has ended");
    clock.advance(HOUR / 2);
    await expect(stream.next()).rejects.toThrow(refused(status.PERMISSION_DENIED, "process 4321 has ended"));
  });
});

describe("a caller without entry", () => {
  it.each(["FetchX509SVID", "FetchX509Bundles", "FetchJWTBundles"] as const)(
    "gets PermissionDenied from %s, told who it is but not what would match",
    async (method) => {
      peer.uid = 5;
      const stream = (await client(await start(config(ordersAdmin)))).stream(method);
      const error = await stream.next().catch((reason: unknown) => reason as { code: status; details: string });
      expect(error).toMatchObject({
        code: status.PERMISSION_DENIED,
        details: "no identity issued: no entry matches uid 5, gid 100, pid 4321, /opt/app",
      });
      expect(events).toContainEqual(
        expect.objectContaining({ event: "refused", call: method, uid: 5, code: "PERMISSION_DENIED" }),
      );
    },
  );

  it.each([
    ["FetchJWTSVID", { audience: ["a"], spiffeId: "" }],
    ["ValidateJWTSVID", { audience: "a", svid: "x" }],
  ] as const)("gets PermissionDenied from %s", async (method, request) => {
    peer.uid = 5;
    const caller = await client(await start(config(orders)));
    await expect(caller.unary(method, request)).rejects.toThrow(refused(status.PERMISSION_DENIED, "no entry matches"));
  });

  it("is told why when the kernel says too little about it", async () => {
    peer.problem = new CountersignError("E_PEER_CREDENTIALS", "the peer lives in a pid namespace that cannot be seen");
    const caller = await client(await start(config(orders)));
    await expect(caller.stream("FetchX509SVID").next()).rejects.toThrow(
      refused(status.PERMISSION_DENIED, "cannot be seen"),
    );
  });
});

describe("the metadata workload.spiffe.io", () => {
  const twice = new Metadata();
  twice.add("workload.spiffe.io", "true");
  twice.add("workload.spiffe.io", "true");
  it.each<[string, Metadata]>([
    ["missing", new Metadata()],
    ["false", workloadMetadata("false")],
    ["True", workloadMetadata("True")],
    ["given twice", twice],
  ])("is required: %s is InvalidArgument for every call", async (_name, metadata) => {
    const caller = await client(await start(config(orders)));
    const wanted = refused(status.INVALID_ARGUMENT, "workload.spiffe.io");
    // oxlint-disable-next-line no-await-in-loop -- few, and easier to read when one fails
    for (const method of ["FetchX509SVID", "FetchX509Bundles", "FetchJWTBundles"] as const)
      await expect(caller.stream(method, metadata).next()).rejects.toThrow(wanted);
    await expect(caller.unary("FetchJWTSVID", { audience: ["a"] }, metadata)).rejects.toThrow(wanted);
    await expect(caller.unary("ValidateJWTSVID", { audience: "a", svid: "a" }, metadata)).rejects.toThrow(wanted);
  });
});

describe("bundles", () => {
  it("of X.509 are pushed when the next CA is prepared, long before it signs; old SVIDs still verify", async () => {
    const caller = await client(await start(config(orders, "caTtl: 24h")));
    const bundles = caller.stream<X509BundlesResponse>("FetchX509Bundles");
    const svids = caller.stream<X509SvidResponse>("FetchX509SVID");
    const before = await bundles.next();
    const old = await svids.next();
    expect(Object.keys(before.bundles)).toEqual(["spiffe://example.org"]);
    clock.advance(12 * HOUR);
    const after = certificatesIn((await bundles.next()).bundles["spiffe://example.org"] ?? Buffer.alloc(0));
    expect(after).toHaveLength(2);
    const leaf = new X509Certificate(old.svids[0]?.x509Svid ?? Buffer.alloc(0));
    expect(after.some((der) => leaf.verify(new X509Certificate(der).publicKey))).toBe(true);
    const renewed = await svids.next();
    expect(certificatesIn(renewed.svids[0]?.bundle ?? Buffer.alloc(0)).length).toBeGreaterThan(0);
  });

  it("of JWT hold the key of every token", async () => {
    const caller = await client(await start(config(orders)));
    const { bundles } = await caller.stream<JwtBundlesResponse>("FetchJWTBundles").next();
    const jwks = JSON.parse(Buffer.from(bundles["spiffe://example.org"] ?? []).toString()) as { keys: object[] };
    expect(jwks.keys).toEqual([
      expect.objectContaining({
        use: "jwt-svid",
        kty: "EC",
        crv: "P-256",
        kid: expect.stringMatching(/^.{22}$/) as string,
      }),
    ]);
    expect(JSON.stringify(jwks)).not.toContain('"d"');
  });
});

describe("JWT-SVIDs", () => {
  it("are issued for an audience and validated with all their claims", async () => {
    const caller = await client(await start(config(orders)));
    const { svids } = await caller.unary<JwtSvidResponse>("FetchJWTSVID", { audience: ["payments"], spiffeId: "" });
    expect(svids).toEqual([expect.objectContaining({ spiffeId: "spiffe://example.org/orders", hint: "main" })]);
    const svid = svids[0]?.svid ?? "";
    const answer = await caller.unary<ValidateJwtSvidResponse>("ValidateJWTSVID", { audience: "payments", svid });
    expect(answer.spiffeId).toBe("spiffe://example.org/orders");
    expect(answer.claims?.fields["exp"]).toMatchObject({ numberValue: clock.nowMs() / 1000 + 300 });
    expect(answer.claims?.fields["sub"]).toMatchObject({ stringValue: "spiffe://example.org/orders" });
    await expect(caller.unary("ValidateJWTSVID", { audience: "stock", svid })).rejects.toThrow(
      refused(status.INVALID_ARGUMENT, "E_JWT_SVID_AUDIENCE"),
    );
    expect(JSON.stringify(events)).not.toContain(svid.split(".")[2] ?? expect.fail());
  });

  it.each([
    ["no audience", { audience: [], spiffeId: "" }, status.INVALID_ARGUMENT],
    ["an empty audience", { audience: ["a", ""], spiffeId: "" }, status.INVALID_ARGUMENT],
    ["too many audiences", { audience: Array.from({ length: 33 }, String), spiffeId: "" }, status.INVALID_ARGUMENT],
    ["an audience too long", { audience: ["a".repeat(1025)], spiffeId: "" }, status.INVALID_ARGUMENT],
    ["an ID of someone else", { audience: ["a"], spiffeId: "spiffe://example.org/admin" }, status.PERMISSION_DENIED],
    ["a message too large", { audience: ["a".repeat(70_000)], spiffeId: "" }, status.RESOURCE_EXHAUSTED],
  ])("are refused for %s", async (_name, request, code) => {
    const caller = await client(await start(config(orders)));
    await expect(caller.unary("FetchJWTSVID", request)).rejects.toThrow(refused(code, ""));
  });
});

describe("restart and reload", () => {
  it("keep the CA, so that SVIDs from before still verify", async () => {
    const first = await start(config(orders));
    const before = await (await client(first)).stream<X509SvidResponse>("FetchX509SVID").next();
    await first.close();
    const second = await start(config(orders));
    const after = await (await client(second)).stream<X509SvidResponse>("FetchX509SVID").next();
    expect(Buffer.from(after.svids[0]?.bundle ?? [])).toEqual(Buffer.from(before.svids[0]?.bundle ?? []));
    expect(serialOf(after)).not.toBe(serialOf(before));
  });

  it("refuse a reload that needs a restart, and change nothing then", async () => {
    const issuer = await start(config(orders));
    const other = { ...config(""), stateFolder: "/elsewhere", trustDomain: parseTrustDomain("other.org") };
    expect(() => issuer.reload(other)).toThrow(
      expect.objectContaining({
        code: "E_ISSUER_RELOAD",
        message: "a reload cannot change trustDomain, stateFolder",
      }) as Error,
    );
    await (await client(issuer)).stream<X509SvidResponse>("FetchX509SVID").next();
  });

  it("refuse a second issuer on the same state or socket", async () => {
    await start(config(orders));
    await expect(start(config(orders))).rejects.toThrow(
      expect.objectContaining({ code: "E_ISSUER_STATE_LOCKED" }) as Error,
    );
    const elsewhere = { ...config(orders), stateFolder: join(folder, "other-state") };
    await expect(start(elsewhere)).rejects.toThrow(expect.objectContaining({ code: "E_ISSUER_SOCKET" }) as Error);
    // The failed start has let go of its state folder.
    await start({ ...elsewhere, socketPath: join(folder, "sock", "other") });
  });

  it("end every stream with Unavailable at close, remove the socket and leave no timer", async () => {
    const issuer = await start(config(orders));
    const caller = await client(issuer);
    const streams = [
      caller.stream("FetchX509SVID"),
      caller.stream("FetchX509Bundles"),
      caller.stream("FetchJWTBundles"),
    ];
    await Promise.all(streams.map((stream) => stream.next()));
    await issuer.close();
    // oxlint-disable-next-line no-await-in-loop -- few
    for (const stream of streams)
      await expect(stream.next()).rejects.toThrow(refused(status.UNAVAILABLE, "the issuer is stopping"));
    expect(existsSync(join(folder, "sock", "s"))).toBe(false);
    expect(clock.pending).toBe(0);
    expect(peer.closed).toBe(1);
    expect(events.at(-1)).toEqual({ event: "stopped" });
  });

  it("log where the issuer listens, and what it serves", async () => {
    const issuer = await start(config(orders));
    expect(events.map(({ event }) => event)).toEqual(["ca.rotated", "listening", "ready"]);
    expect(events).toContainEqual({ event: "listening", name: "workload-api", address: issuer.address });
  });
});

describe("hostile callers", () => {
  const dial = async (issuer: RunningIssuer): Promise<Socket> => {
    const socket = connect(issuer.address.slice("unix://".length));
    socket.on("error", () => undefined);
    await once(socket, "connect");
    return socket;
  };
  const closed = async (socket: Socket): Promise<void> => {
    socket.resume();
    if (!socket.destroyed) await once(socket, "close");
  };

  it("of one uid cannot take all connections", async () => {
    const issuer = await start(config(orders), { connectionsPerUid: 2 });
    const sockets = [await dial(issuer), await dial(issuer)];
    await closed(await dial(issuer));
    expect(events).toContainEqual({ event: "refused", reason: "too many connections from uid 1001", uid: 1001 });
    peer = { ...peer, uid: 5 };
    const other = await client(issuer);
    await expect(other.stream("FetchX509SVID").next()).rejects.toThrow(refused(status.PERMISSION_DENIED, ""));
    for (const socket of sockets) socket.destroy();
  });

  it("cannot take more connections than there are, and free them when they close", async () => {
    const issuer = await start(config(orders), { connections: 1 });
    const first = await dial(issuer);
    await closed(await dial(issuer));
    first.destroy();
    const caller = await client(issuer);
    // The place is free once the server has seen the close; grpc-js dials again until then.
    await caller
      .stream<X509SvidResponse>("FetchX509SVID", workloadMetadata())
      .next()
      .catch(() => undefined);
    await expect
      .poll(
        () =>
          caller
            .stream<X509SvidResponse>("FetchX509SVID")
            .next()
            .then(idsOf, () => []),
        { timeout: 10_000 },
      )
      .toEqual(["spiffe://example.org/orders"]);
  });

  it("of one uid cannot call without end", async () => {
    const issuer = await start(config(orders), { callsPerUidBurst: 3, callsPerUidPerSecond: 1 });
    const caller = await client(issuer);
    const fetch = (): Promise<JwtSvidResponse> => caller.unary("FetchJWTSVID", { audience: ["a"], spiffeId: "" });
    await Promise.all([fetch(), fetch(), fetch()]);
    await expect(fetch()).rejects.toThrow(refused(status.RESOURCE_EXHAUSTED, "too many calls from uid 1001"));
    clock.advance(1000);
    await fetch();
  });

  it.each([
    ["plain text", "hello\r\n\r\n"],
    ["HTTP/1.1", "GET / HTTP/1.1\r\nhost: x\r\n\r\n"],
    ["binary", "\u0000\u0001\u0002\u0003".repeat(4000)],
    ["a preface and garbage frames", `PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n${"\u00ff".repeat(64)}`],
  ])("that speak %s are cut off, and others are served", async (_name, bytes) => {
    const issuer = await start(config(orders));
    const socket = await dial(issuer);
    socket.write(bytes, "latin1");
    await closed(socket);
    const caller = await client(issuer);
    expect(idsOf(await caller.stream<X509SvidResponse>("FetchX509SVID").next())).toHaveLength(1);
  });

  it("that send a request which is no protobuf get an error, and the connection lives on", async () => {
    await start(config(orders));
    const session = connectHttp2("http://localhost", { createConnection: () => connect(join(folder, "sock", "s")) });
    session.on("error", () => undefined);
    const call = (path: string, body: Buffer): Promise<string | undefined> =>
      new Promise((resolve) => {
        const stream = session.request({
          ":method": "POST",
          ":path": path,
          "content-type": "application/grpc",
          "workload.spiffe.io": "true",
          te: "trailers",
        });
        let grpcStatus: string | undefined;
        stream.on("response", (headers) => {
          grpcStatus = headers["grpc-status"] as string | undefined;
        });
        stream.on("trailers", (headers) => {
          grpcStatus ??= headers["grpc-status"] as string | undefined;
        });
        stream.on("error", () => undefined);
        stream.on("close", () => resolve(grpcStatus));
        stream.resume();
        stream.end(body);
      });
    const framed = (payload: Buffer): Buffer => Buffer.concat([Buffer.from([0, 0, 0, 0, payload.length]), payload]);
    const wrongWireType = framed(Buffer.from([0x0f, 0xff, 0xff, 0xff]));
    expect(await call("/SpiffeWorkloadAPI/FetchJWTSVID", wrongWireType)).not.toBe("0");
    expect(await call("/SpiffeWorkloadAPI/FetchJWTSVID", Buffer.from([1, 2]))).not.toBe("0");
    expect(await call("/SpiffeWorkloadAPI/Nothing", framed(Buffer.alloc(0)))).toBe(String(status.UNIMPLEMENTED));
    expect(await call("/grpc.health.v1.Health/Check", framed(Buffer.alloc(0)))).toBe(String(status.UNIMPLEMENTED));
    const audience = framed(Buffer.from([0x0a, 1, 0x61]));
    expect(await call("/SpiffeWorkloadAPI/FetchJWTSVID", audience)).toBe("0");
    session.destroy();
    expect(events.filter(({ event }) => event === "call.failed")).toEqual([]);
  });

  it("cannot write control characters into a status or the log", async () => {
    peer.uid = 5;
    peer.path = "/tmp/\u001b[31m\nx";
    const issuer = await start(config(orders));
    const error = await (await client(issuer))
      .stream("FetchX509SVID")
      .next()
      .catch((reason: unknown) => reason);
    expect((error as { details: string }).details).toContain("/tmp/\\u001b[31m\\u000ax");
  });
});
