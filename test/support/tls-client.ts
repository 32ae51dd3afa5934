import { connect } from "node:tls";
import type { TestIssued } from "./cert-factory.ts";
import { type RawClient, wrapRawClient } from "./raw-client.ts";

/** A caller that has an SVID and no sidecar: it says what a test wants a peer to say. It doesn't check whom it calls. */
export async function tlsClient(port: number, issued: TestIssued): Promise<RawClient & { readonly peerUri: string }> {
  const socket = connect({
    port,
    host: "127.0.0.1",
    cert: issued.chainPem,
    key: issued.keyPem,
    rejectUnauthorized: false,
  });
  await new Promise<void>((resolve, reject) => {
    socket.once("secureConnect", resolve);
    socket.once("error", reject);
  });
  const client = wrapRawClient(socket);
  const { subjectaltname = "" } = socket.getPeerCertificate();
  return Object.assign(client, { peerUri: subjectaltname.replace(/^URI:/, "") });
}
