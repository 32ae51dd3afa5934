import { spawn } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { connect, createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { listenUnix } from "./listen-unix.ts";

let base: string;
let path: string;
let servers: Server[];
beforeEach(() => {
  base = realpathSync(mkdtempSync(join(tmpdir(), "countersign-")));
  path = join(base, "sock", "issuer.sock");
  servers = [];
});
afterEach(() => {
  for (const server of servers) server.close();
  rmSync(base, { recursive: true });
});

const refusal = (text: string): Error =>
  expect.objectContaining({ code: "E_ISSUER_SOCKET", message: expect.stringContaining(text) as string }) as Error;

async function listen(at = path): Promise<Server> {
  const server = createServer((socket) => socket.end());
  servers.push(server);
  await listenUnix(server, at, "everyone");
  return server;
}

describe("the issuer's socket", () => {
  it("can be connected to by every user, in a folder that only its owner may change", async () => {
    await listen();
    expect(statSync(path).mode & 0o666).toBe(0o666);
    expect(statSync(join(base, "sock")).mode & 0o777).toBe(0o755);
    await once(connect(path), "connect");
  });

  it("is gone after close", async () => {
    const server = await listen();
    server.close();
    await once(server, "close");
    expect(existsSync(path)).toBe(false);
  });

  it("takes the place of one that a killed process left behind", async () => {
    mkdirSync(join(base, "sock"));
    const script = `require("net").createServer().listen(${JSON.stringify(path)}, () => console.log("up"))`;
    const child = spawn(process.execPath, ["-e", script], { stdio: ["ignore", "pipe", "ignore"] });
    await once(child.stdout, "data");
    child.kill("SIGKILL");
    await once(child, "exit");
    expect(existsSync(path)).toBe(true);
    await listen();
    await once(connect(path), "connect");
  });

  it("is refused while another process answers there, which keeps its socket", async () => {
    await listen();
    await expect(listen()).rejects.toThrow(refusal("another process answers"));
    await once(connect(path), "connect");
  });

  it("never removes what is no socket", async () => {
    mkdirSync(join(base, "sock"));
    writeFileSync(path, "precious");
    await expect(listen()).rejects.toThrow(refusal("is not a socket"));
    expect(statSync(path).size).toBe(8);
  });

  it("does not follow a link that stands in its place", async () => {
    mkdirSync(join(base, "sock"));
    symlinkSync(join(base, "elsewhere"), path);
    await expect(listen()).rejects.toThrow(refusal("is not a socket"));
  });

  it.each([0o777, 0o775, 0o1777])("is refused in a folder of mode %o", async (mode) => {
    mkdirSync(join(base, "sock"));
    chmodSync(join(base, "sock"), mode);
    await expect(listen()).rejects.toThrow(refusal("has mode"));
  });

  it("is refused below a folder that others may rename", async () => {
    mkdirSync(join(base, "open"));
    chmodSync(join(base, "open"), 0o777);
    await expect(listen(join(base, "open", "sock", "s"))).rejects.toThrow(refusal("in the hands of other users"));
  });
});
