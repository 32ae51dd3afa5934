import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { peerCredentials } from "./peer-credentials.ts";
import { socketFd } from "./socket-fd.ts";

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup();
});

async function acceptOn(listenAt: { path: string } | { port: number; host: string }): Promise<Socket> {
  const server = createServer();
  server.listen(listenAt);
  await once(server, "listening");
  const at = "path" in listenAt ? listenAt : { ...listenAt, port: (server.address() as AddressInfo).port };
  const client = connect(at);
  const [accepted] = (await once(server, "connection")) as [Socket];
  cleanups.push(
    () => client.destroy(),
    () => accepted.destroy(),
    () => server.close(),
  );
  return accepted;
}

describe.runIf(process.platform === "linux")("peerCredentials", () => {
  it("names the process, user and group that connected", async () => {
    const folder = mkdtempSync(join(tmpdir(), "countersign-"));
    cleanups.push(() => rmSync(folder, { recursive: true }));
    const socket = await acceptOn({ path: join(folder, "s") });
    expect(peerCredentials(socketFd(socket) ?? -1)).toEqual({
      pid: process.pid,
      uid: process.geteuid?.(),
      gid: process.getegid?.(),
    });
  });

  it("refuses a TCP socket, which has no such peer", async () => {
    const socket = await acceptOn({ host: "127.0.0.1", port: 0 });
    expect(() => peerCredentials(socketFd(socket) ?? -1)).toThrow(
      expect.objectContaining({ code: "E_PEER_CREDENTIALS" }) as Error,
    );
  });

  it("refuses a descriptor that is not open", () => {
    expect(() => peerCredentials(1_000_000)).toThrow(expect.objectContaining({ code: "E_PEER_CREDENTIALS" }) as Error);
  });

  it("has no descriptor for a socket that is closed", async () => {
    const socket = await acceptOn({ host: "127.0.0.1", port: 0 });
    socket.destroy();
    await once(socket, "close");
    expect(socketFd(socket)).toBeUndefined();
  });
});
