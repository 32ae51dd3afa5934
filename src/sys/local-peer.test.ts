import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import {
  chmodSync,
  copyFileSync,
  linkSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
} from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createPeerCredentialsReader, type LocalPeer, type PeerCredentialsReader } from "./local-peer.ts";
import { systemClock } from "./system-clock.ts";

const isRoot = process.getuid?.() === 0;
const canUnshare = isRoot && spawnSync("/usr/bin/env", ["unshare", "--mount", "true"]).status === 0;
const refusal = (text: string): Error =>
  expect.objectContaining({ code: "E_PEER_CREDENTIALS", message: expect.stringContaining(text) as string }) as Error;

let folder: string;
let server: Server;
let reader: PeerCredentialsReader;
let cleanups: (() => void)[];

beforeEach(async () => {
  folder = realpathSync(mkdtempSync(join(tmpdir(), "countersign-")));
  cleanups = [];
  reader = createPeerCredentialsReader(systemClock);
  server = createServer().listen({ path: join(folder, "s"), writableAll: true });
  await once(server, "listening");
});
afterEach(() => {
  for (const cleanup of cleanups) cleanup();
  server.close();
  rmSync(folder, { recursive: true });
});

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

/** Starts a process that connects and then does what its first byte from us asks for. */
async function connectFrom(
  command: string,
  args: readonly string[] = [],
  options: { uid?: number } = {},
): Promise<{ child: ChildProcess; socket: Socket; peer: LocalPeer }> {
  const script = `
    const other = ${JSON.stringify(join(folder, "other"))};
    const socket = require("node:net").connect(${JSON.stringify(join(folder, "s"))});
    socket.once("data", () => {
      // Sockets close on exec unless told otherwise (fcntl F_SETFD).
      const { functions } = require("node:ffi").dlopen(null, { fcntl: { return: "i32", arguments: ["i32", "i32", "i32"] } });
      functions.fcntl(socket._handle.fd, 2, 0);
      process.execve(other, [other, "-e", "setInterval(() => {}, 1000)"]);
    });`;
  const child = spawn(command, [...args, "-e", script], { ...options, cwd: "/", stdio: "ignore" });
  cleanups.push(() => child.kill("SIGKILL"));
  const [socket] = (await once(server, "connection")) as [Socket];
  socket.on("error", () => undefined);
  const peer = reader.open(socket);
  cleanups.push(
    () => peer.close(),
    () => socket.destroy(),
  );
  return { child, socket, peer };
}

describe.runIf(process.platform === "linux")("a local peer", () => {
  it("is named by pid, uid, gid, executable path and hash", async () => {
    const node = nodeNamed("node-a");
    const { child, peer } = await connectFrom(node);
    expect(peer.credentials).toEqual({ pid: child.pid, uid: process.getuid?.(), gid: process.getgid?.() });
    const sha256 = createHash("sha256").update(readFileSync(node)).digest("hex");
    expect(await peer.inspect((path) => path === node)).toEqual({ path: node, sha256 });
  });

  it("is not hashed when nobody asks", async () => {
    const { peer } = await connectFrom(nodeNamed("node-a"));
    expect(await peer.inspect(() => false)).toEqual({ path: join(folder, "node-a"), sha256: undefined });
  });

  it("shows the program that it executed after it connected", async () => {
    const other = nodeNamed("other");
    const { socket, peer } = await connectFrom(nodeNamed("node-a"));
    socket.write("x");
    let path: string | undefined;
    for (let tries = 0; path !== other && tries < 2000; tries++) {
      // oxlint-disable-next-line no-await-in-loop -- each look must be a new one
      ({ path } = await peer.inspect(() => false).catch(() => ({ path: undefined })));
    }
    expect(path).toBe(other);
  });

  it("is refused once it has ended, also while its zombie keeps the pid", async () => {
    const { child, peer } = await connectFrom(process.execPath);
    child.kill("SIGKILL");
    await once(child, "exit");
    await expect(peer.inspect(() => false)).rejects.toThrow(refusal("has ended"));
  });

  it("has no path when its executable was replaced", async () => {
    const node = nodeNamed("node-a");
    const { peer } = await connectFrom(node);
    renameSync(nodeNamed("node-b"), join(folder, "moved"));
    copyFileSync("/bin/sh", join(folder, "new"));
    renameSync(join(folder, "new"), node);
    expect(await peer.inspect(() => false)).toEqual({ path: undefined, sha256: undefined });
  });

  it("cannot be looked at any more after close", async () => {
    const { peer } = await connectFrom(process.execPath);
    peer.close();
    peer.close();
    await expect(peer.inspect(() => false)).rejects.toThrow(refusal("has ended"));
  });

  it.runIf(isRoot)("of another uid is shown with that uid", async () => {
    chmodSync(folder, 0o711);
    const { peer } = await connectFrom(process.execPath, [], { uid: 12345 });
    expect(peer.credentials.uid).toBe(12345);
    expect((await peer.inspect(() => false)).path).toBe(realpathSync(process.execPath));
  });

  it.runIf(canUnshare).each([
    ["mnt", ["--mount"]],
    ["user", ["--user", "--map-root-user"]],
    ["pid", ["--pid", "--fork"]],
  ])("in another %s namespace is refused", async (name, args) => {
    const { peer } = await connectFrom("/usr/bin/env", ["unshare", ...args, process.execPath]);
    await expect(peer.inspect(() => false)).rejects.toThrow(refusal(`another ${name} namespace`));
  });
});
