import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { eventually } from "../../../test/support/eventually.ts";
import { adoptPlainSocket } from "../socket-reads.ts";
import { NOBODY, SocketTransport } from "../transport.ts";
import { HeldCaller } from "./held-caller.ts";

let close: () => void;
let peer: Socket;
let socket: Socket;
let left: number;
let caller: HeldCaller;
beforeEach(async () => {
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new TypeError("no port");
  const accepted = once(server, "connection");
  peer = connect({ port: address.port, host: "127.0.0.1" });
  peer.on("error", () => undefined);
  socket = adoptPlainSocket(((await accepted) as [Socket])[0]);
  socket.on("error", () => undefined);
  left = 0;
  caller = new HeldCaller(new SocketTransport(socket, NOBODY), () => void left++);
  close = () => {
    peer.destroy();
    socket.destroy();
    server.close();
  };
});
afterEach(() => close());

describe("a caller that is held", () => {
  it("has what it says kept, behind what was read before", async () => {
    caller.hold(Buffer.from("before "));
    peer.write("and after");
    await eventually(() => expect(socket.bytesRead).toBe(9));
    expect(Buffer.from(caller.take()).toString()).toBe("before and after");
    expect(caller.take()).toHaveLength(0);
    expect(left).toBe(0);
  });

  it.each([
    ["ends", () => peer.end()],
    ["breaks off", () => peer.resetAndDestroy()],
  ])("is heard when it %s", async (_, leave) => {
    caller.hold(undefined);
    leave();
    await eventually(() => expect(left).toBeGreaterThan(0));
  });

  it("rests beyond a bound, whatever it sends", async () => {
    caller.hold(undefined);
    peer.write(Buffer.alloc(4 * 1024 * 1024));
    await eventually(() => expect(socket.isPaused()).toBe(true));
    const { bytesRead } = socket;
    expect(bytesRead).toBeLessThan(256 * 1024);
    expect(caller.take()).toHaveLength(bytesRead);
  });
});
