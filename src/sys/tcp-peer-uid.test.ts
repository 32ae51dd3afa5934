import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer, type Server, Socket } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { type TcpEndpoint, tcpPeerUid } from "./tcp-peer-uid.ts";

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup();
});

async function listen(host: string): Promise<{ server: Server; port: number }> {
  const server = createServer({ allowHalfOpen: true });
  cleanups.push(() => server.close());
  server.listen(0, host);
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new TypeError("no port");
  return { server, port: address.port };
}

async function accept(listenHost: string, dialHost: string): Promise<{ client: Socket; accepted: Socket }> {
  const { server, port } = await listen(listenHost);
  const client = new Socket({ allowHalfOpen: true });
  client.on("error", () => undefined);
  const [[accepted]] = await Promise.all([
    once(server, "connection") as Promise<[Socket]>,
    once(client.connect(port, dialHost), "connect"),
  ]);
  accepted.on("error", () => undefined);
  cleanups.push(
    () => client.destroy(),
    () => accepted.destroy(),
  );
  return { client, accepted };
}

const ends = (socket: Socket): [TcpEndpoint, TcpEndpoint] => [
  { address: socket.localAddress ?? "", port: socket.localPort ?? 0 },
  { address: socket.remoteAddress ?? "", port: socket.remotePort ?? 0 },
];

describe.runIf(process.platform === "linux")("tcpPeerUid", () => {
  it.each([
    ["IPv4", "127.0.0.1", "127.0.0.1"],
    ["IPv6", "::1", "::1"],
    ["IPv4 on a dual-stack listener", "::", "127.0.0.1"],
    ["an IPv4-mapped dialler", "127.0.0.1", "::ffff:127.0.0.1"],
  ])("names our own uid over %s", async (_name, listenHost, dialHost) => {
    const { accepted } = await accept(listenHost, dialHost);
    expect(tcpPeerUid(...ends(accepted))).toBe(process.getuid?.());
  });

  it.runIf(process.getuid?.() === 0)("names the uid of a process of another user", async () => {
    const { server, port } = await listen("127.0.0.1");
    const script = `require("net").connect(${port}, "127.0.0.1")`;
    const child = spawn(process.execPath, ["-e", script], { uid: 12345, gid: 12345, cwd: "/", stdio: "ignore" });
    cleanups.push(() => child.kill("SIGKILL"));
    const [accepted] = (await once(server, "connection")) as [Socket];
    accepted.on("error", () => undefined);
    cleanups.push(() => accepted.destroy());
    expect(tcpPeerUid(...ends(accepted))).toBe(12345);
  });

  it("still names the owner after the peer has shut down its writing half", async () => {
    const { client, accepted } = await accept("127.0.0.1", "127.0.0.1");
    accepted.resume();
    client.end();
    await once(accepted, "end");
    expect(tcpPeerUid(...ends(accepted))).toBe(process.getuid?.());
  });

  it("names nobody once the peer has closed, instead of root", async () => {
    const { client, accepted } = await accept("127.0.0.1", "127.0.0.1");
    const [local, remote] = ends(accepted);
    accepted.resume();
    client.destroy();
    await once(accepted, "end");
    expect(tcpPeerUid(local, remote)).toBeUndefined();
  });

  it("does not take a listener on the same port for the peer", async () => {
    const { port } = await listen("127.0.0.1");
    const nobody = { address: "127.0.0.1", port: 1 };
    expect(tcpPeerUid(nobody, { address: "127.0.0.1", port })).toBeUndefined();
  });

  it("names nobody for a peer outside this machine or of another family", () => {
    expect(tcpPeerUid({ address: "127.0.0.1", port: 80 }, { address: "192.0.2.1", port: 9 })).toBeUndefined();
    expect(tcpPeerUid({ address: "127.0.0.1", port: 80 }, { address: "::1", port: 9 })).toBeUndefined();
  });

  it("keeps answers apart over many lookups", async () => {
    const { accepted } = await accept("127.0.0.1", "127.0.0.1");
    const [local, remote] = ends(accepted);
    for (let i = 0; i < 200; i++) {
      expect(tcpPeerUid(local, { ...remote, port: remote.port ^ 1 })).toBeUndefined();
      expect(tcpPeerUid(local, remote)).toBe(process.getuid?.());
    }
  });
});
