import { expect, it } from "vitest";
import { startApp } from "../support/app.ts";
import { ask } from "../support/ask.ts";
import { atEnd } from "../support/at-end.ts";
import { startMesh } from "../support/mesh.ts";

const handshake = {
  connection: "Upgrade",
  upgrade: "websocket",
  "sec-websocket-version": "13",
  "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
};

// between the sidecars a 2xx to an extended CONNECT means an open tunnel
it.each([
  [200, 502],
  [204, 502],
  [302, 302],
  [403, 403],
])("an app that answers a WebSocket handshake %i opens no tunnel: the caller sees %i", async (status, seen) => {
  const app = await startApp((_, response) => response.writeHead(status).end());
  app.server.on("upgrade", (_, socket) => {
    socket.end(`HTTP/1.1 ${status} Because\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`);
  });
  atEnd(() => app.close());
  const mesh = await startMesh({ appPort: app.port });
  atEnd(() => mesh.close());
  const answer = await ask(mesh.port, "/chat", { headers: handshake });
  expect(answer.status).toBe(seen);
  expect((await mesh.inbound.audit.next(() => true)).status).toBe(seen);
  expect((await mesh.outbound.audit.next(() => true)).status).toBe(seen);
});
