// Shows that a peer does what it is compared for. Without this a set-up that checks nothing would look fast.
import { readFileSync } from "node:fs";
import { connect as connectTcp, createServer, type Socket } from "node:net";
import { connect as connectTls, TLSSocket, type TLSSocketOptions } from "node:tls";
import type { BenchIdentity } from "./identities.ts";
import type { Mesh } from "./peers/peer.ts";

const request = "GET /small HTTP/1.1\r\nHost: orders.bench.test\r\nConnection: close\r\n\r\n";
const timeoutMs = 5_000;

/** Call while the outbound runs and the inbound does not: a stranger of the same CA takes the inbound's place, and the
 *  outbound must not hand it the request. Throws when it does. */
export async function checkOutboundRefusesImpostor(mesh: Mesh): Promise<void> {
  let leaked = "";
  const server = createServer((raw) => {
    raw.on("error", () => raw.destroy());
    const tls = new TLSSocket(raw, { isServer: true, requestCert: true, ...credentials(mesh.identities.stranger) });
    tls.on("error", () => tls.destroy());
    tls.on("data", (bytes: Buffer) => {
      leaked += bytes.toString("latin1");
      tls.end("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nimpostor");
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject).listen(mesh.ports.inboundHttp, "127.0.0.1", resolve);
  });
  try {
    const status = await statusOver(connectTcp(mesh.ports.outboundHttp, "127.0.0.1"));
    if (leaked !== "" || status === "200")
      throw new Error("the outbound hop sent the request to a server with another identity");
  } finally {
    await new Promise((resolve) => server.close(resolve));
  }
}

/** Call while both hops run. Throws when the right call fails, or when a caller with another identity, or with none,
 *  gets a 200 from the inbound hop. */
export async function checkMesh(mesh: Mesh): Promise<void> {
  const { web, stranger, orders } = mesh.identities;
  const through = await statusOver(connectTcp(mesh.ports.outboundHttp, "127.0.0.1"));
  if (through !== "200") throw new Error(`a call through both hops was answered ${through}`);
  const direct = (identity?: BenchIdentity): TLSSocket =>
    connectTls({
      host: "127.0.0.1",
      port: mesh.ports.inboundHttp,
      servername: orders.dnsName,
      minVersion: "TLSv1.3",
      ...(identity === undefined
        ? { ca: readFileSync(orders.files.bundle), rejectUnauthorized: true }
        : { ...credentials(identity), rejectUnauthorized: true }),
    });
  const own = await statusOver(direct(web));
  if (own !== "200") throw new Error(`the inbound hop answered its right caller ${own}`);
  const other = await statusOver(direct(stranger));
  if (other === "200") throw new Error("the inbound hop answered a caller with another identity");
  const none = await statusOver(direct());
  if (none === "200") throw new Error("the inbound hop answered a caller without a certificate");
}

function credentials(identity: BenchIdentity): TLSSocketOptions & { readonly ca: Buffer } {
  return {
    cert: readFileSync(identity.files.svid),
    key: readFileSync(identity.files.key),
    ca: readFileSync(identity.files.bundle),
  };
}

/** Sends one request and gives the status code of the answer, or why there is none. */
function statusOver(socket: Socket): Promise<string> {
  return new Promise((resolve) => {
    let text = "";
    const settle = (result: string): void => {
      resolve(result);
      socket.destroy();
    };
    socket.setTimeout(timeoutMs, () => settle("no answer in time"));
    socket.on("error", (error) => settle(error.message));
    socket.on("close", () => settle("closed"));
    socket.on("data", (bytes: Buffer) => {
      text += bytes.toString("latin1");
      const status = /^HTTP\/1\.[01] (\d{3})/.exec(text)?.[1];
      if (status !== undefined) settle(status);
    });
    socket.write(request);
  });
}
