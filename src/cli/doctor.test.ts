import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import {
  type CertOptions,
  createTestCa,
  type TestCa,
  type TestIssued,
  writeIdentityFiles,
} from "../../test/support/cert-factory.ts";
import { jwtSvid } from "../../test/support/jwt-svids.ts";
import { ALLOW_WEB, ORDERS, startTestSidecar, WEB } from "../../test/support/mesh.ts";
import { type Ran, runCommand } from "../../test/support/run-command.ts";
import { type ScriptedAgent, startScriptedAgent, svidMessage } from "../../test/support/scripted-agent.ts";
import { run } from "./doctor.ts";

let dir: string;
let ca: TestCa;
let agent: ScriptedAgent | undefined;
const cleanups: (() => unknown)[] = [];

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "countersign-doctor-"));
  ca = createTestCa("example.org");
});
afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup();
  agent?.stop();
  agent = undefined;
  rmSync(dir, { recursive: true, force: true });
});

interface Found {
  readonly code: string;
  readonly message: string;
  readonly fix: string | null;
  readonly line: number | null;
}
interface Answer {
  readonly code: number;
  readonly errors: readonly Found[];
  readonly warnings: readonly Found[];
  readonly err: string;
}
async function doctor(yaml: string, ...more: readonly string[]): Promise<Answer> {
  writeFileSync(join(dir, "c.yaml"), yaml);
  const { code, out, err } = await runDoctor(["-c", "c.yaml", "--json", ...more]);
  const { errors, warnings } =
    out === "" ? { errors: [], warnings: [] } : (JSON.parse(out) as Pick<Answer, "errors" | "warnings">);
  return { code, errors, warnings, err };
}
function runDoctor(argv: readonly string[]): Promise<Ran> {
  return runCommand(run, argv, dir);
}
const codes = (found: readonly Found[]): string[] => found.map(({ code }) => code);
const outbound = (port: number, identity = ORDERS, more = ""): string =>
  `outbound: [{ name: out, listen: "127.0.0.1:0", to: ["127.0.0.1:${port}"], identity: "${identity}", protocol: http${more} }]\n`;
const inbound = (port: number, more = ""): string =>
  `authorization: { default: allow }\ninbound: [{ name: in, listen: "127.0.0.1:${port}", app: "127.0.0.1:1", protocol: http${more} }]\n`;

function files(issued: TestIssued = ca.issue({ spiffeId: WEB }), others: readonly TestCa[] = []): string {
  writeIdentityFiles(dir, issued, ca, others);
  return "identity: { files: { svid: svid.pem, key: svid.key, bundles: { example.org: bundle.pem } } }\n";
}
/** An agent that sends this SVID to whoever asks. */
async function serving(issued: TestIssued): Promise<string> {
  agent = await startScriptedAgent(join(dir, "agent.sock"));
  void agent.nextCall().then((call) => call.send({ svids: [svidMessage(issued, ca)] }));
  return workloadApi();
}
const workloadApi = (path = join(dir, "agent.sock")): string =>
  `identity: { workloadApi: { address: "unix://${path}" } }\n`;

describe("the socket of the Workload API", () => {
  test("that is not there: the one beside it is named", async () => {
    agent = await startScriptedAgent(join(dir, "agent.sock"));
    const { code, errors } = await doctor(workloadApi(join(dir, "agnet.sock")) + inbound(0));
    expect([code, codes(errors)]).toEqual([1, ["E_DOCTOR_SOCKET"]]);
    expect(errors[0]).toMatchObject({ line: 1, message: expect.stringContaining("is not there") });
    expect(errors[0]?.fix).toContain(`unix://${dir}/agent.sock`);
  });
  test("that is not there, in a folder that is not there either", async () => {
    const { errors } = await doctor(workloadApi(join(dir, "nowhere", "agent.sock")) + inbound(0));
    expect(errors[0]).toMatchObject({ code: "E_DOCTOR_SOCKET", fix: expect.stringContaining("agent") });
  });
  test("that is a file", async () => {
    writeFileSync(join(dir, "agent.sock"), "");
    const { errors } = await doctor(workloadApi() + inbound(0));
    expect(errors[0]?.message).toContain("is no socket");
  });
  test("that an agent left behind", async () => {
    const path = join(dir, "agent.sock");
    const { spawnSync } = await import("node:child_process");
    // A process that is killed removes no socket.
    const script = `require("net").createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, "SIGKILL"))`;
    spawnSync(process.execPath, ["-e", script]);
    const { errors } = await doctor(workloadApi() + inbound(0));
    expect(errors[0]?.message).toContain("left behind");
  });
  test.skipIf(process.geteuid?.() === 0)("that this user may not open", async () => {
    agent = await startScriptedAgent(join(dir, "agent.sock"));
    chmodSync(join(dir, "agent.sock"), 0);
    const { errors } = await doctor(workloadApi() + inbound(0));
    expect(errors[0]?.message).toContain("may not be opened");
  });
});

describe("the agent", () => {
  test("without an entry: the selectors to make one with are named", async () => {
    agent = await startScriptedAgent(join(dir, "agent.sock"));
    void agent.nextCall().then((call) => call.end(7, "no identity issued"));
    const { code, errors } = await doctor(workloadApi() + inbound(0));
    expect([code, codes(errors)]).toEqual([1, ["E_WORKLOAD_API_DENIED"]]);
    expect(errors[0]?.fix).toContain(`unix:uid:${process.geteuid?.() ?? 0}`);
  });
  test("that is no Workload API", async () => {
    agent = await startScriptedAgent(join(dir, "agent.sock"));
    void agent.nextCall().then((call) => call.end(12, "unknown service"));
    expect(codes((await doctor(workloadApi() + inbound(0))).errors)).toEqual(["E_WORKLOAD_API_REFUSED"]);
  });
  test.each<[string, CertOptions]>([
    ["ahead", { notBefore: Date.now() + 60_000 }],
    ["behind", { notBefore: Date.now() - 7_200_000, notAfter: Date.now() - 60_000 }],
  ])("whose clock is far %s", async (_what, options) => {
    const { errors } = await doctor((await serving(ca.issue({ spiffeId: WEB, ...options }))) + inbound(0));
    expect(codes(errors)).toEqual(["E_DOCTOR_CLOCK"]);
    expect(errors[0]?.message).toContain("this machine's clock says");
  });
  test.each<[number, string[], string[]]>([
    [0, [], []],
    [-20_000, [], ["W_DOCTOR_CLOCK"]],
    [-120_000, ["E_DOCTOR_CLOCK"], []],
    [120_000, ["E_DOCTOR_CLOCK"], []],
  ])("whose JWT-SVIDs are of a time %d ms away", async (awayMs, errors, warnings) => {
    const yaml = (await serving(ca.issue({ spiffeId: WEB }))) + inbound(0);
    if (agent === undefined) throw new TypeError("no agent");
    agent.jwtSvid = ({ spiffeId, audience }) => {
      const claims = { sub: spiffeId, aud: audience };
      return { svids: [{ spiffeId, svid: jwtSvid(Date.now() + awayMs, { key: "rsa", claims }), hint: "" }] };
    };
    const answer = await doctor(yaml);
    expect([codes(answer.errors), codes(answer.warnings)]).toEqual([errors, warnings]);
  });
  test("whose JWT-SVIDs not every cloud takes", async () => {
    const yaml = (await serving(ca.issue({ spiffeId: WEB }))) + inbound(0);
    if (agent === undefined) throw new TypeError("no agent");
    agent.jwtSvid = ({ spiffeId, audience }) => ({
      svids: [{ spiffeId, svid: jwtSvid(Date.now(), { claims: { sub: spiffeId, aud: audience } }), hint: "" }],
    });
    const { code, warnings } = await doctor(yaml);
    expect([code, codes(warnings)]).toEqual([0, ["W_DOCTOR_CLOUD_JWT"]]);
    expect(warnings[0]?.fix).toContain("RS256");
  });
});

describe("what was received", () => {
  test("in good order: nothing is said", async () => {
    const { code, errors, warnings } = await doctor(files() + inbound(0));
    expect({ code, errors, warnings }).toEqual({ code: 0, errors: [], warnings: [] });
  });
  test.each<[string, string, () => string]>([
    [
      "E_IDENTITY_KEY_MISMATCH",
      "a key of another certificate",
      () => {
        const yaml = files();
        writeFileSync(join(dir, "svid.key"), ca.issue().keyPem, { mode: 0o600 });
        return yaml + inbound(0);
      },
    ],
    [
      "E_IDENTITY_FILE",
      "a missing file",
      () => {
        const yaml = files();
        rmSync(join(dir, "svid.pem"));
        return yaml + inbound(0);
      },
    ],
    [
      "E_CHAIN_SIGNATURE",
      "a bundle that is not current",
      () => {
        const yaml = files();
        writeFileSync(join(dir, "bundle.pem"), createTestCa("example.org").bundlePem);
        return yaml + inbound(0);
      },
    ],
    [
      "E_DOCTOR_CLOCK",
      "an SVID that has expired",
      () => files(ca.issue({ spiffeId: WEB, notAfter: Date.now() - 1000 })) + inbound(0),
    ],
    [
      "E_DOCTOR_BUNDLE_GAP",
      "a server of a domain without bundle",
      () => files() + outbound(1, "spiffe://partner.org/x"),
    ],
    ["E_IDENTITY_HINT", "a hint that no SVID has", () => files() + inbound(0, ", svid: { hint: internal }")],
    [
      "E_DOCTOR_JWT_BUNDLE",
      "JWT-SVIDs asked for, and a bundle without keys",
      () => files() + inbound(0, ", jwtSvid: {}"),
    ],
  ])("%s: %s", async (code, _what, yaml) => {
    const answer = await doctor(yaml(), "--no-dial");
    expect([answer.code, codes(answer.errors)]).toEqual([1, [code]]);
    expect(answer.errors[0]?.fix).toBeTruthy();
  });
  test.each<[string, string, () => string]>([
    [
      "W_DOCTOR_EXPIRY",
      "an SVID near its end",
      () => files(ca.issue({ spiffeId: WEB, notBefore: Date.now() - 3_600_000, notAfter: Date.now() + 600_000 })),
    ],
    ["W_DOCTOR_CLOUD_KEY", "an Ed25519 key", () => files(ca.issue({ spiffeId: WEB, keyType: "Ed25519" }))],
    [
      "W_DOCTOR_AUTHORITY_EXPIRY",
      "an authority near its end",
      () => {
        ca = createTestCa("example.org", { notAfter: Date.now() + 3 * 86_400_000 });
        return files();
      },
    ],
    [
      "W_CONFIG_KEY_READABLE",
      "a key that others can read",
      () => {
        const yaml = files();
        chmodSync(join(dir, "svid.key"), 0o644);
        return yaml;
      },
    ],
  ])("%s: %s", async (code, _what, yaml) => {
    const answer = await doctor(yaml() + inbound(0));
    expect(answer.code).toBe(0);
    expect(codes(answer.warnings)).toContain(code);
  });
});

test("W_DOCTOR_SAME_USER: an app that could fetch the sidecar's key", async () => {
  const app = createServer();
  await new Promise<void>((resolve) => app.listen(0, "127.0.0.1", resolve));
  cleanups.push(() => app.close());
  const address = app.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  const { code, warnings } = await doctor(files() + inbound(0).replace("127.0.0.1:1", `127.0.0.1:${port}`));
  expect([code, codes(warnings)]).toEqual([0, ["W_DOCTOR_SAME_USER"]]);
  expect(warnings[0]?.message).toContain(`uid ${process.geteuid?.() ?? 0}`);
});

describe("servers and callers", () => {
  async function startOrders(trusted: TestCa, id = ORDERS): Promise<number> {
    const sidecar = await startTestSidecar({
      ca: trusted,
      svid: ca.issue({ spiffeId: id }),
      policies: ALLOW_WEB,
      config: 'inbound: [{ name: in, listen: "127.0.0.1:0", app: "127.0.0.1:1", protocol: http }]\n',
    });
    cleanups.push(() => sidecar.sidecar.drain(0));
    return sidecar.port("in");
  }
  test("a server that is who it should be, and takes us", async () => {
    expect(codes((await doctor(files() + outbound(await startOrders(ca)))).errors)).toEqual([]);
  });
  test("a server with another identity", async () => {
    const { errors } = await doctor(files() + outbound(await startOrders(ca, "spiffe://example.org/other")));
    expect(codes(errors)).toEqual(["E_PEER_WRONG_IDENTITY"]);
    expect(errors[0]?.message).toContain("outbound out:");
  });
  test("a server that does not trust us", async () => {
    const { errors } = await doctor(
      files() + outbound(await startOrders(createTestCa("example.org", { commonName: "other" }))),
    );
    expect(codes(errors)).toEqual(["E_DOCTOR_PEER_REFUSES"]);
  });
  test("a server that is not there, and one that speaks no TLS", async () => {
    const plain = createServer((socket) => socket.end("hello"));
    await new Promise<void>((resolve) => plain.listen(0, "127.0.0.1", resolve));
    cleanups.push(() => plain.close());
    const address = plain.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    expect(codes((await doctor(files() + outbound(1))).errors)).toEqual(["E_UPSTREAM_CONNECT"]);
    expect(codes((await doctor(files() + outbound(port))).errors)).toEqual(["E_UPSTREAM_HANDSHAKE"]);
    expect(codes((await doctor(files() + outbound(1), "--no-dial")).errors)).toEqual([]);
  });
  test("a caller that expects somebody else here", async () => {
    const peer = (identity: string): string => `${files()}${outbound(15_006, identity)}`;
    writeFileSync(join(dir, "peer.yaml"), peer(ORDERS));
    const { errors } = await doctor(files() + inbound(15_006), "--peer", "peer.yaml");
    expect(codes(errors)).toEqual(["E_DOCTOR_PEER_EXPECTS"]);
    expect(errors[0]?.message).toContain(`shows ${WEB}`);
    writeFileSync(join(dir, "peer.yaml"), peer("spiffe://example.org/ns/shop/sa/*"));
    expect(codes((await doctor(files() + inbound(15_006), "--peer", "peer.yaml")).errors)).toEqual([]);
  });
});

test("wrong usage, and a configuration that check refuses, end with 2", async () => {
  expect((await runDoctor([])).code).toBe(2);
  expect((await doctor("identity: { files: {} }\n")).code).toBe(2);
  expect((await runDoctor(["--help"])).code).toBe(0);
});

test("people get the finding, its place and the fix", async () => {
  writeFileSync(join(dir, "c.yaml"), workloadApi(join(dir, "nowhere.sock")) + inbound(0));
  const { out } = await runDoctor(["-c", "c.yaml"]);
  expect(out).toMatch(/^c\.yaml:1:\d+ {2}error E_DOCTOR_SOCKET /);
  expect(out).toContain("    fix: ");
});
