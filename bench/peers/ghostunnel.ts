import { join } from "node:path";
import { isListening } from "../ports.ts";
import { waitUntilReady } from "../processes.ts";
import { type Peer, versionOf } from "./peer.ts";

/** ghostunnel, which carries bytes only. Both hops check the peer's SPIFFE ID (URI SAN). Its log is plain lines. */
export const ghostunnel: Peer = {
  name: "ghostunnel",
  async find(children) {
    const text = await versionOf(children, "ghostunnel", ["--version"]);
    if (text === undefined)
      return {
        kind: "missing",
        hint: "go install github.com/ghostunnel/ghostunnel@latest, with $(go env GOPATH)/bin in PATH",
      };
    const cannot = { http1: "it carries bytes only", http2: "it carries bytes only" };
    return { kind: "found", version: text.trim(), cannot };
  },
  async start(hop, mesh, children) {
    const { identities, ports } = mesh;
    const [own, peer] = hop === "outbound" ? [identities.web, identities.orders] : [identities.orders, identities.web];
    const listen = ["--listen", `127.0.0.1:${ports[hop]}`];
    const target = ["--target", `127.0.0.1:${hop === "outbound" ? ports.inbound : ports.app}`];
    const tls = ["--cert", own.files.svid, "--key", own.files.key, "--cacert", own.files.bundle];
    // its client also compares the server's DNS name, with the target's unless told another
    const expected =
      hop === "outbound"
        ? ["--verify-uri", peer.spiffeId, "--override-server-name", peer.dnsName]
        : ["--allow-uri", peer.spiffeId];
    const name = `${hop}.log`;
    const args = [hop === "outbound" ? "client" : "server", ...listen, ...target, ...tls, ...expected];
    // its inbound checks a connection only when a caller speaks TLS, so that asking whether it listens costs nothing
    const child = await children.start(`ghostunnel ${hop}`, "ghostunnel", args, {
      env: { GOMAXPROCS: "1" },
      stdout: { file: join(mesh.dir, name) },
    });
    await waitUntilReady(child, () => isListening(ports[hop]), 10_000);
    return { child, accessLog: { dir: mesh.dir, name } };
  },
};
