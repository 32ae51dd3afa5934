import { Socket } from "node:net";
import { expect, it, vi } from "vitest";
import { startApp } from "../support/app.ts";
import { ask } from "../support/ask.ts";
import { atEnd } from "../support/at-end.ts";
import { startMesh } from "../support/mesh.ts";

it("sockets to the other sidecar and to the app send small writes at once and notice a dead peer", async () => {
  const noDelay = vi.spyOn(Socket.prototype, "setNoDelay");
  const keepAlive = vi.spyOn(Socket.prototype, "setKeepAlive");
  atEnd(() => vi.restoreAllMocks());
  const app = await startApp((_, response) => response.end("ok"));
  atEnd(() => app.close());
  const mesh = await startMesh({ appPort: app.port });
  atEnd(() => mesh.close());
  const ports = (spy: { readonly mock: { readonly contexts: readonly unknown[] } }): (number | undefined)[] =>
    spy.mock.contexts.map((socket) => (socket instanceof Socket ? socket.remotePort : undefined));
  expect((await ask(mesh.port, "/")).status).toBe(200);
  expect(ports(noDelay)).toEqual(expect.arrayContaining([mesh.meshPort, app.port]));
  expect(noDelay.mock.calls.every(([enable = true]) => enable)).toBe(true);
  expect(ports(keepAlive)).toEqual(expect.arrayContaining([mesh.meshPort, app.port]));
});
