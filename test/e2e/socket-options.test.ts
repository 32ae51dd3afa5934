import { Socket } from "node:net";
import { afterEach, expect, it, vi } from "vitest";
import { startApp } from "../support/app.ts";
import { ask } from "../support/ask.ts";
import { startMesh } from "../support/mesh.ts";

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

it("sockets to the other sidecar and to the app send small writes at once and notice a dead peer", async () => {
  const noDelay = vi.spyOn(Socket.prototype, "setNoDelay");
  const keepAlive = vi.spyOn(Socket.prototype, "setKeepAlive");
  cleanups.push(() => vi.restoreAllMocks());
  const app = await startApp((_, response) => response.end("ok"));
  cleanups.push(() => app.close());
  const mesh = await startMesh({ appPort: app.port });
  cleanups.push(() => mesh.close());
  const ports = (spy: { readonly mock: { readonly contexts: readonly unknown[] } }): (number | undefined)[] =>
    spy.mock.contexts.map((socket) => (socket instanceof Socket ? socket.remotePort : undefined));
  expect((await ask(mesh.port, "/")).status).toBe(200);
  expect(ports(noDelay)).toEqual(expect.arrayContaining([mesh.meshPort, app.port]));
  expect(noDelay.mock.calls.every(([enable = true]) => enable)).toBe(true);
  expect(ports(keepAlive)).toEqual(expect.arrayContaining([mesh.meshPort, app.port]));
});
