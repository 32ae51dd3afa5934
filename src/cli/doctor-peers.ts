import { matchesExpected } from "../certs/expected-identity.ts";
import { createPeerVerifier } from "../certs/peer-verifier.ts";
import type { OutboundConfig, SidecarConfig } from "../config/sidecar-config.ts";
import { CountersignError, type SourcePosition } from "../core/errors.ts";
import type { IdentitySnapshot, Svid } from "../core/identity.ts";
import { Deadlines } from "../proxy/deadlines.ts";
import { addressText, dial } from "../proxy/upstream/dial.ts";
import type { Finding } from "./findings-report.ts";

/** How long a server has to end a connection that it does not want. */
const REFUSAL_MS = 500;

/** Callers that would not take our SVID for the one they expect. Which of a peer's listeners lead here is told by the port. */
export function expectationFindings(
  { inbound }: SidecarConfig,
  { svids }: IdentitySnapshot,
  peers: readonly SidecarConfig[],
): Finding[] {
  const found: Finding[] = [];
  for (const listener of inbound) {
    const { listen, svidHint } = listener;
    const ours = svidHint === "" ? svids[0] : svids.find(({ hint }) => hint === svidHint);
    if (listen.kind !== "tcp" || ours === undefined) continue;
    for (const peer of peers)
      for (const { name, to, identity } of peer.outbound) {
        if (!to.some(({ port }) => port === listen.port)) continue;
        if (identity.some((one) => matchesExpected(one, ours.spiffeId))) continue;
        const wanted = identity.map(({ pattern }) => pattern).join(" or ");
        const text = `outbound ${name} of ${peer.file} expects ${wanted}, and inbound ${listener.name} here shows ${ours.spiffeId}`;
        found.push(new CountersignError("E_DOCTOR_PEER_EXPECTS", text));
      }
  }
  return found;
}

/** Servers that cannot be reached, are not who they should be, or refuse us. */
export async function dialFindings(
  { outbound, outboundAsWritten, timeouts }: SidecarConfig,
  snapshot: IdentitySnapshot,
  at: (...path: readonly (string | number)[]) => SourcePosition,
): Promise<Finding[]> {
  const deadlines = new Deadlines();
  const verifyPeer = createPeerVerifier();

  function tryOne(one: OutboundConfig, svid: Svid, to: OutboundConfig["to"][number]): Promise<Finding | undefined> {
    const address = { kind: "tcp", ...to } as const;
    const where = at(
      "outbound",
      outboundAsWritten.findIndex(({ name }) => name === one.name),
      "to",
    );
    return new Promise((resolve) => {
      const identity = { svid, snapshot, expected: one.identity, alpn: [] };
      const { connect: connectTimeoutMs, handshake: handshakeTimeoutMs } = timeouts;
      const options = {
        address,
        source: undefined,
        connectTimeoutMs,
        handshakeTimeoutMs,
        deadlines,
        verifyPeer,
        identity,
      };
      dial(options, (result) => {
        if (result.kind === "failed") {
          const { code, message, fix } = result.error;
          resolve(new CountersignError(code, `outbound ${one.name}: ${message}`, { fix, at: where }));
          return;
        }
        // Under TLS 1.3 a client learns only afterwards that its certificate was refused.
        const { socket } = result.dialed;
        const end = (finding: Finding | undefined): void => {
          clearTimeout(timer);
          socket.destroy();
          resolve(finding); // only the first counts
        };
        const timer = setTimeout(() => end(undefined), REFUSAL_MS);
        const onRefused = (): void => {
          const text = `outbound ${one.name}: ${addressText(address)} ended the connection at once after it saw ${svid.spiffeId}`;
          end(new CountersignError("E_DOCTOR_PEER_REFUSES", text, { at: where }));
        };
        socket.on("error", () => undefined);
        socket.resume();
        socket.once("end", onRefused);
        socket.once("close", onRefused);
      });
    });
  }

  const found = await Promise.all(
    outbound.flatMap((one) => {
      const svid = one.svidHint === "" ? snapshot.svids[0] : snapshot.svids.find(({ hint }) => hint === one.svidHint);
      return svid === undefined ? [] : one.to.map((to) => tryOne(one, svid, to));
    }),
  );
  return found.filter((finding) => finding !== undefined);
}
