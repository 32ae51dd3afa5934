import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { copyFileSync, linkSync, mkdtempSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type FakeClock, fakeClock } from "../../../test/support/fake-clock.ts";
import { createPeerCredentialsReader } from "../../sys/local-peer.ts";
import { parseIssuerConfig } from "./issuer-config.ts";
import { type RunningIssuer, startIssuer } from "./start-issuer.ts";

const HOUR = 3_600_000;
const PERMISSION_DENIED = 7;
const uid = process.getuid?.() ?? -1;

let folder: string;
let clock: FakeClock;
const noAudit = { problem: undefined, event: (): void => undefined };
let issuer: RunningIssuer | undefined;
let callers: ChildProcess[];
/** Of the issuer's log: who was refused, and why. */
let onRefused: (fields: Record<string, unknown>) => void;

beforeEach(() => {
  folder = realpathSync(mkdtempSync(join(tmpdir(), "countersign-")));
  clock = fakeClock(Date.now());
  callers = [];
  issuer = undefined;
  onRefused = () => undefined;
});
afterEach(async () => {
  for (const caller of callers) caller.kill("SIGKILL");
  await issuer?.close();
  rmSync(folder, { recursive: true });
});

/** The issuer as it runs, with the kernel's word about callers; only time is ours. */
async function start(selectors: readonly string[]): Promise<void> {
  const { config } = parseIssuerConfig(
    `trustDomain: example.org
socket: unix://${folder}/sock/s
state: ${folder}/state
entries: [{ id: spiffe://example.org/orders, selectors: ${JSON.stringify(selectors)} }]`,
    join(folder, "issuer.yaml"),
    {},
  );
  const write = (fields: object): void => {
    const entry: Record<string, unknown> = { ...fields };
    if (entry["event"] === "refused") onRefused(entry);
  };
  const log = { info: write, warn: write, error: write };
  issuer = await startIssuer(config, { clock, peers: createPeerCredentialsReader(clock), log, audit: noAudit });
}

/** Another name for the node that runs now; a copy where the temporary folder is on another file system. */
function nodeNamed(name: string): string {
  const path = join(folder, name);
  try {
    linkSync(process.execPath, path);
  } catch {
    copyFileSync(process.execPath, path);
  }
  return path;
}

/** Asks for an SVID in gRPC by hand, and prints a line for what comes: `granted`, or the status and its text. */
const ASK = `
  const { connect } = require("node:http2");
  const socket = require("node:net").connect(process.argv[1]);
  const say = (text) => require("node:fs").writeSync(1, text + "\\n");
  socket.once("connect", () => {
    const { fd } = socket._handle;
    const session = connect("http://localhost", { createConnection: () => socket });
    const call = session.request({
      ":method": "POST",
      ":path": "/SpiffeWorkloadAPI/FetchX509SVID",
      "content-type": "application/grpc",
      te: "trailers",
      "workload.spiffe.io": "true",
    });
    call.end(Buffer.alloc(5));
    const onFields = (fields) => {
      if (fields["grpc-status"] !== undefined) say(fields["grpc-status"] + " " + decodeURIComponent(fields["grpc-message"]));
    };
    call.on("response", onFields);
    call.on("trailers", onFields);
    call.once("data", () => {
      say("granted");
      const other = process.argv[2];
      if (other === undefined) return;
      // sockets close on exec unless told otherwise (fcntl F_SETFD)
      const { functions } = require("node:ffi").dlopen(null, { fcntl: { return: "i32", arguments: ["i32", "i32", "i32"] } });
      functions.fcntl(fd, 2, 0);
      process.execve(other, [other, "-e", "require('node:fs').writeSync(1, 'executed\\\\n'); setInterval(() => {}, 1000)"]);
    });
  });`;

/** Starts a caller; the result gives the lines that it prints, one after the other. */
function startCaller(command: readonly [string, ...string[]], ...args: readonly string[]): () => Promise<string> {
  const [file, ...before] = command;
  const flags = ["--disable-warning=ExperimentalWarning", "-e", ASK, join(folder, "sock", "s"), ...args];
  const child = spawn(file, [...before, ...flags], { cwd: "/", stdio: ["ignore", "pipe", "inherit"] });
  callers.push(child);
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return async () => {
    const { value, done } = await lines.next();
    if (done === true) throw new Error("the caller ended without a word");
    return value;
  };
}

describe.runIf(process.platform === "linux")("a caller in its own process", () => {
  it("gets its SVID by uid and path", async () => {
    const node = nodeNamed("orders");
    await start([`unix:uid:${uid}`, `unix:path:${node}`]);
    expect(await startCaller([node])()).toBe("granted");
    expect(await startCaller([nodeNamed("other")])()).toMatch(`${PERMISSION_DENIED} no identity issued`);
  });

  it("loses unix:path when it executes another program with the connection open", async () => {
    const orders = nodeNamed("orders");
    const other = nodeNamed("other");
    await start([`unix:uid:${uid}`, `unix:path:${orders}`]);
    const next = startCaller([orders], other);
    expect(await next()).toBe("granted");
    expect(await next()).toBe("executed");
    const refused = new Promise<Record<string, unknown>>((resolve) => {
      onRefused = resolve;
    });
    // the next push is due: the caller is looked at again
    clock.advance(HOUR / 2);
    const { call, code, reason } = await refused;
    expect([call, code]).toEqual(["FetchX509SVID", "PERMISSION_DENIED"]);
    expect(reason).toMatch(new RegExp(`^no identity issued: no entry matches uid ${uid}, .*, ${other}$`));
  });

  it.for([
    ["mnt", ["--mount"]],
    ["user", ["--user", "--map-root-user"]],
    ["pid", ["--pid", "--fork", "--kill-child"]],
  ] as const)("of another %s namespace gets nothing, whatever its uid", async ([name, flags], { skip }) => {
    const unshare = ["unshare", ...flags];
    const isPermitted = spawnSync("/usr/bin/env", [...unshare, "true"]).status === 0;
    skip(!isPermitted, `unshare ${flags.join(" ")} is not there, or not permitted here`);
    await start([`unix:uid:${uid}`]);
    const answer = await startCaller(["/usr/bin/env", ...unshare, process.execPath])();
    expect(answer).toMatch(new RegExp(`^${PERMISSION_DENIED} .*another ${name} namespace`));
  });
});
