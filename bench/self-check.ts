// Shows that a peer does what it is compared for. Without this a set-up that checks nothing would look fast.
import { readFileSync } from "node:fs";
import { connect as connectTcp, createServer } from "node:net";
import { connect as connectTls, TLSSocket, type TLSSocketOptions } from "node:tls";
import type { BenchIdentity } from "./identities.ts";
import type { Mesh } from "./peers/peer.ts";
import { answerOver } from "./self-check-call.ts";
import type { Wire } from "./workloads.ts";

const alpnOf: Readonly<Record<Wire, readonly string[]>> = {
  http1: ["h2", "http/1.1"],
  http2: ["h2"],
  tcp: [],
};

/** Call while the outbound runs and the inbound does not: a stranger of the same CA takes the inbound's place, and the
 *  outbound must not hand it the call. Throws when it does. */
export async function checkOutboundRefusesImpostor(mesh: Mesh): Promise<void> {
  let leaked = "";
  const server = createServer((raw) => {
    raw.on("error", () => raw.destroy());
    const tls = new TLSSocket(raw, {
      isServer: true,
      requestCert: true,
      ALPNCallback: ({ protocols }) => protocols[0], // whatever it asks for: it must fail for who we are
      ...credentials(mesh.identities.stranger),
    });
    tls.on("error", () => tls.destroy());
    tls.on("data", (bytes: Buffer) => {
      leaked += bytes.toString("latin1");
      tls.destroy();
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject).listen(mesh.ports.inbound, "127.0.0.1", resolve);
  });
  try {
    const answer = await answerOver(connectTcp(mesh.ports.outbound, "127.0.0.1"), mesh.wire);
    if (leaked !== "" || answer === "ok")
      throw new Error("the outbound hop sent the call to a server with another identity");
  } finally {
    await new Promise((resolve) => server.close(resolve));
  }
}

/** Call while both hops run. Throws when the right call fails, when a caller with another identity, or with none, gets an
 *  answer from the inbound hop, and when HTTP/2 does not run where `isMultiplexed` says so. */
export async function checkMesh(mesh: Mesh, isMultiplexed: boolean | undefined): Promise<void> {
  const { web, stranger } = mesh.identities;
  const through = await answerOver(connectTcp(mesh.ports.outbound, "127.0.0.1"), mesh.wire);
  if (through !== "ok") throw new Error(`a call through both hops was answered: ${through}`);
  const own = await answerOfInbound(mesh, web);
  if (own.answer !== "ok") throw new Error(`the inbound hop answered its right caller: ${own.answer}`);
  if (mesh.wire === "http1" && isMultiplexed !== undefined && isMultiplexed !== (own.alpn === "h2"))
    throw new Error(`between the hops ${own.alpn || "no ALPN name"} was agreed on`);
  if ((await answerOfInbound(mesh, stranger)).answer === "ok")
    throw new Error("the inbound hop answered a caller with another identity");
  if ((await answerOfInbound(mesh, undefined)).answer === "ok")
    throw new Error("the inbound hop answered a caller without a certificate");
}

/** Calls the inbound hop without the outbound, by TLS 1.3. */
async function answerOfInbound(
  mesh: Mesh,
  identity: BenchIdentity | undefined,
): Promise<{ readonly answer: string; readonly alpn: string }> {
  const { orders } = mesh.identities;
  const alpn = alpnOf[mesh.wire];
  const socket = connectTls({
    host: "127.0.0.1",
    port: mesh.ports.inbound,
    servername: orders.dnsName,
    minVersion: "TLSv1.3",
    rejectUnauthorized: true,
    ...(identity === undefined ? { ca: readFileSync(orders.files.bundle) } : credentials(identity)),
    ...(alpn.length > 0 ? { ALPNProtocols: [...alpn] } : {}),
  });
  const failure = await new Promise<string | undefined>((resolve) => {
    socket.once("secureConnect", () => resolve(undefined));
    socket.once("error", (error) => resolve(error.message));
  });
  if (failure !== undefined) return { answer: failure, alpn: "" };
  const negotiated = socket.alpnProtocol || "";
  const wire = mesh.wire === "http1" && negotiated === "h2" ? "http2" : mesh.wire;
  return { answer: await answerOver(socket, wire), alpn: negotiated };
}

function credentials(identity: BenchIdentity): TLSSocketOptions & { readonly ca: Buffer } {
  return {
    cert: readFileSync(identity.files.svid),
    key: readFileSync(identity.files.key),
    ca: readFileSync(identity.files.bundle),
  };
}
