import { existsSync, linkSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { parseSidecarConfig } from "../../config/load-sidecar-config.ts";
import type { SidecarConfig } from "../../config/sidecar-config.ts";
import { duplicateFd } from "../../sys/duplicate-fd.ts";
import { createListeningSockets, type ListeningSockets, type WorkerSocket } from "./listening-sockets.ts";

let dir: string;
let sockets: ListeningSockets;
let said: string[];
let servers: Server[];
let clients: Socket[];
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "countersign-sockets-"));
  said = [];
  sockets = createListeningSockets((direction, name) => said.push(`${direction} ${name}`));
  servers = [];
  clients = [];
});
afterEach(() => {
  sockets.close();
  for (const client of clients) client.destroy();
  for (const server of servers) server.close();
  rmSync(dir, { recursive: true });
});

function config(...listen: readonly string[]): SidecarConfig {
  const inbound = listen.map((address, i) => `  - { name: in-${i}, listen: "${address}", app: "127.0.0.1:9" }`);
  const listeners = inbound.length === 0 ? "" : `inbound:\n${inbound.join("\n")}\n`;
  const text = `identity: { workloadApi: { address: "unix:///run/agent.sock" } }\n${listeners}`;
  return parseSidecarConfig(text, join(dir, "c.yaml"), {}).config;
}
async function open(...listen: readonly string[]): Promise<readonly WorkerSocket[]> {
  const prepared = await sockets.prepare(config(...listen));
  prepared.commit();
  return prepared.sockets;
}
/** A worker: greets with its name. */
async function serve({ fd }: WorkerSocket, name: string): Promise<void> {
  const server = createServer((socket) => socket.end(name));
  servers.push(server);
  await new Promise<void>((resolve) => server.listen({ fd: duplicateFd(fd) }, resolve));
}
function greeting(to: { readonly port: number; readonly host: string } | { readonly path: string }): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = "";
    const client = connect(to);
    clients.push(client);
    client.setEncoding("utf8");
    client.on("data", (part: string) => {
      text += part;
    });
    client.on("end", () => resolve(text));
    client.on("error", reject);
  });
}
function first([socket]: readonly WorkerSocket[]): WorkerSocket {
  if (socket === undefined) throw new TypeError("there is no socket");
  return socket;
}
const codeOf = async (attempt: Promise<unknown>): Promise<unknown> =>
  attempt.then(
    () => "none",
    (error: { code?: unknown }) => error.code,
  );

describe("the listening sockets of workers", () => {
  it("are served by whoever listens at a copy, and never by who made them", async () => {
    const one = first(await open("127.0.0.1:0"));
    if (one.address.kind !== "tcp") throw new TypeError("not TCP");
    const early = greeting(one.address);
    await serve(one, "worker");
    expect(await early).toBe("worker");
    expect(await greeting(one.address)).toBe("worker");
    expect(said).toEqual(["inbound in-0"]);
  });

  it("on a Unix path have the listener's mode from the start, and leave no file behind", async () => {
    const path = join(dir, "s.sock");
    const one = first(await open(`unix://${path}`));
    expect(statSync(path).mode & 0o777).toBe(0o660);
    await serve(one, "unix");
    expect(await greeting({ path })).toBe("unix");
    sockets.close();
    expect(existsSync(path)).toBe(false);
  });

  it("stay the same ones while the configuration has their address, with a count of their own for a changed listener", async () => {
    const [a, b] = await open("127.0.0.1:0", "127.0.0.1:0");
    const next = config("127.0.0.1:0", "127.0.0.1:0");
    const changed: SidecarConfig = {
      ...next,
      inbound: next.inbound.map((one, i) => (i === 0 ? { ...one, mtls: "permissive" as const } : one)),
    };
    const again = await sockets.prepare(changed);
    again.commit();
    expect(again.sockets.map(({ fd, address }) => ({ fd, address }))).toEqual(
      [a, b].map((one) => ({ fd: one?.fd, address: one?.address })),
    );
    expect(again.sockets.map(({ connections }, i) => connections === [a, b][i]?.connections)).toEqual([false, true]);
  });

  it("are not listened at any more once they are out of the configuration and no worker has a copy", async () => {
    const one = first(await open("127.0.0.1:0"));
    if (one.address.kind !== "tcp") throw new TypeError("not TCP");
    (await sockets.prepare(config())).commit();
    expect(await codeOf(greeting(one.address))).toBe("ECONNREFUSED");
  });

  it("change in nothing when one address is taken, or is given twice", async () => {
    const taken = createServer();
    servers.push(taken);
    await new Promise<void>((resolve) => taken.listen(0, "127.0.0.1", resolve));
    const { port } = taken.address() as AddressInfo;
    const path = join(dir, "new.sock");
    expect(await codeOf(sockets.prepare(config(`unix://${path}`, `127.0.0.1:${port}`)))).toBe("E_LISTEN");
    expect(existsSync(path)).toBe(false);
    const twice = config(`unix://${path}`);
    expect(await codeOf(sockets.prepare({ ...twice, inbound: [...twice.inbound, ...twice.inbound] }))).toBe("E_LISTEN");
    expect(said).toEqual([]);
  });

  it("do not take a Unix path that somebody answers, and take one that a dead process left", async () => {
    const path = join(dir, "s.sock");
    const other = createServer();
    servers.push(other);
    await new Promise<void>((resolve) => other.listen(path, resolve));
    const left = join(dir, "left.sock");
    linkSync(path, left); // closing the server removes the other name alone
    expect(await codeOf(sockets.prepare(config(`unix://${path}`)))).toBe("E_LISTEN");
    expect(existsSync(path)).toBe(true);
    await new Promise((resolve) => other.close(resolve));
    const one = first(await open(`unix://${left}`));
    await serve(one, "new");
    expect(await greeting({ path: left })).toBe("new");
  });
});
