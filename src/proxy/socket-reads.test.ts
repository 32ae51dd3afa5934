import { connect, createServer, type Socket } from "node:net";
import { connect as connectTls, TLSSocket } from "node:tls";
import { afterEach, describe, expect, it } from "vitest";
import { createTestCa, testSvid } from "../../test/support/cert-factory.ts";
import { clientTlsOptions, serverTlsOptions } from "../certs/tls-context.ts";
import { adoptPlainSocket, newPlainSocket, receiveBytes } from "./socket-reads.ts";

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup();
});

async function socketPair(): Promise<{ readonly client: Socket; readonly accepted: Socket }> {
  const server = createServer({ allowHalfOpen: true });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new TypeError("no port");
  const accepting = new Promise<Socket>((resolve) => server.once("connection", (socket) => resolve(socket)));
  const client = connect({ port: address.port, host: "127.0.0.1", allowHalfOpen: true });
  const accepted = await accepting;
  cleanups.push(() => {
    server.close();
    client.destroy();
    accepted.destroy();
  });
  return { client, accepted };
}

function collect(socket: Socket): { readonly done: Promise<string> } {
  let text = "";
  receiveBytes(socket, (bytes) => {
    text += bytes.toString("latin1");
  });
  return { done: new Promise((resolve) => socket.once("end", () => resolve(text))) };
}

describe("reads into the shared buffer", () => {
  it("bring an accepted socket's bytes and its end, in order", async () => {
    const { client, accepted } = await socketPair();
    const socket = adoptPlainSocket(accepted);
    cleanups.push(() => socket.destroy());
    const { done } = collect(socket);
    const sent = Array.from({ length: 3000 }, (_, i) => `line ${i}\n`).join("");
    client.end(sent);
    expect(await done).toBe(sent);
    expect(socket.listenerCount("data")).toBe(0);
  });

  it("stop while the socket is paused and go on after it", async () => {
    const { client, accepted } = await socketPair();
    const socket = adoptPlainSocket(accepted);
    cleanups.push(() => socket.destroy());
    const { done } = collect(socket);
    socket.pause();
    client.end("late");
    await new Promise<void>((resolve) => client.once("finish", () => resolve()));
    expect(socket.bytesRead).toBe(0);
    socket.resume();
    expect(await done).toBe("late");
  });

  it("work for a socket that we connect", async () => {
    const { accepted, client } = await socketPair();
    const address = accepted.address();
    if (!("port" in address)) throw new TypeError("no port");
    client.destroy();
    const server = createServer((one) => one.end("hello"));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const bound = server.address();
    const socket = newPlainSocket();
    cleanups.push(() => {
      socket.destroy();
      server.close();
    });
    const { done } = collect(socket);
    socket.connect({ port: typeof bound === "object" && bound !== null ? bound.port : 0, host: "127.0.0.1" });
    expect(await done).toBe("hello");
  });

  it("serve TLS sockets on both sides, on the Node that we ship", async () => {
    const { client, accepted } = await socketPair();
    const ca = createTestCa("example.org");
    const svid = testSvid(ca.issue({ spiffeId: "spiffe://example.org/a" }));
    const server = new TLSSocket(accepted, { isServer: true, ...serverTlsOptions(svid) });
    const opened = connectTls({ socket: client, ...clientTlsOptions(svid) });
    cleanups.push(() => {
      server.destroy();
      opened.destroy();
    });
    const atServer = new Promise<string>((resolve) => server.once("secure", () => resolve(collect(server).done)));
    const atClient = new Promise<string>((resolve) =>
      opened.once("secureConnect", () => {
        resolve(collect(opened).done);
        opened.end("x".repeat(200_000));
      }),
    );
    expect(await atServer).toBe("x".repeat(200_000));
    expect(server.listenerCount("data")).toBe(0);
    server.end("answer");
    expect(await atClient).toBe("answer");
    expect(opened.listenerCount("data")).toBe(0);
  });
});
