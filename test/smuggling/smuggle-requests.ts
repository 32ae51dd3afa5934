// Sends mutants through sidecars to an origin and compares what everybody saw.
import { connect, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import fc from "fast-check";
import type { CallOutcome } from "../../src/core/call-outcome.ts";
import { FLAG, FRAME, type Frame } from "../support/http2-frames.ts";
import { http2RawClient } from "../support/http2-raw-client.ts";
import { startMesh, WEB } from "../support/mesh.ts";
import { differences, requestIdOf } from "./compare.ts";
import { type Http1Mutant, http1Mutant } from "./http1-mutants.ts";
import { type Http2Mutant, http2Mutant } from "./http2-mutants.ts";
import type { Origin } from "./origins.ts";
import type { SeenRequest } from "./seen-request.ts";

/** http1: in the clear into the outbound, HTTP/2 to the inbound. http1-tls, http2: over mutual TLS into the inbound. All: HTTP/1.1 to
 *  the origin. */
export const routes = ["http1", "http1-tls", "http2"] as const;
export type Route = (typeof routes)[number];

export interface Smuggled {
  readonly mutants: number;
  /** Mutants whose mutated request reached the origin. */
  readonly reached: number;
  /** A line each; none is right. */
  readonly differences: readonly string[];
  /** What was sent, of the mutants that a difference speaks of. */
  readonly suspects: readonly string[];
}

export interface SmugglingOptions {
  readonly origin: Origin;
  readonly route: Route;
  readonly mutants: number;
  readonly seed: number;
}

const atOnce = 16;
/** A connection that nobody ends by then is ended: what it waits for never comes. */
const patienceMs = 1_000;
/** An origin writes its log when a request is over, which its client does not see. */
const settleMs = 300;

export async function smuggleRequests({ origin, route, mutants, seed }: SmugglingOptions): Promise<Smuggled> {
  const mesh = await startMesh({
    appPort: origin.port,
    protocol: "http1", // toward the origin; the sidecars speak HTTP/2 with each other
    // over HTTP/2 with the default; as it came where both sidecars' records are to say the same
    both: `timeouts: { head: 1s, firstByte: 2s }
${route === "http1" ? "authorization: { pathNormalization: NONE }" : ""}`,
  });
  const sent: (Http1Mutant | Http2Mutant)[] = [];
  try {
    const identity = mesh.ca.issue({ spiffeId: WEB });
    const dial = (): Socket =>
      route === "http1"
        ? connect({ port: mesh.port, host: "127.0.0.1", noDelay: true })
        : connectTls({
            port: mesh.meshPort,
            host: "127.0.0.1",
            cert: identity.chainPem,
            key: identity.keyPem,
            rejectUnauthorized: false,
            ALPNProtocols: ["http/1.1"],
          });
    if (route !== "http2") {
      const all = fc.sample(http1Mutant, { numRuns: mutants, seed }).map((make, number) => make(number));
      sent.push(...all);
      await inTurns(all, (mutant) => sendHttp1(dial(), mutant));
    } else {
      const all = fc.sample(http2Mutant, { numRuns: mutants, seed }).map((make, number) => make(number));
      sent.push(...all);
      await inTurns(all, async ({ bytes }) => {
        const client = await http2RawClient(mesh.meshPort, { identity });
        const ended = endOf(client.socket);
        client.send(bytes);
        // both streams are over, each in its way
        const streams = [1, 3].map((stream) => client.next((one) => isEndOf(one, stream)).catch(() => undefined));
        await Promise.race([ended, Promise.all(streams)]);
        client.destroy();
        await ended;
      });
    }
    await new Promise((resolve) => setTimeout(resolve, settleMs));
  } finally {
    await mesh.close();
  }
  await new Promise((resolve) => setTimeout(resolve, settleMs));
  const records = mesh.inbound.audit.ended;
  const seen = origin.seen();
  const found = [
    ...differences(records, seen),
    ...(route === "http1" ? differences(mesh.outbound.audit.ended, records.flatMap(asSeen)) : []),
  ];
  const reached = new Set(seen.map(({ target }) => requestIdOf(target)).filter((id) => id?.endsWith("-1") === true));
  return { mutants, reached: reached.size, differences: found, suspects: suspectsOf(found, sent) };
}

/** The inbound's records are what the outbound's neighbour understood. */
function asSeen({ kind, decision, method, path, authority, bytesIn }: CallOutcome): SeenRequest[] {
  if (kind !== "request") return [];
  const length = decision === "allow" ? bytesIn : undefined;
  return [{ by: "inbound", method: method ?? "", target: path ?? "", hosts: [authority ?? ""], length }];
}

async function inTurns<T>(all: readonly T[], send: (one: T) => Promise<void>): Promise<void> {
  let next = 0;
  const sender = async (): Promise<void> => {
    for (let one = all[next++]; one !== undefined; one = all[next++]) await send(one);
  };
  await Promise.all(Array.from({ length: atOnce }, sender));
}

async function sendHttp1(socket: Socket, { bytes, splits }: Http1Mutant): Promise<void> {
  const ended = endOf(socket);
  let at = 0;
  for (const length of splits) {
    socket.write(bytes.subarray(at, at + length));
    at += length;
    await new Promise((resolve) => setImmediate(resolve));
  }
  socket.end(bytes.subarray(at));
  await ended;
}

function isEndOf({ type, flags, stream }: Frame, wanted: number): boolean {
  if (stream !== wanted) return false;
  if (type === FRAME.RST_STREAM) return true;
  return (type === FRAME.DATA || type === FRAME.HEADERS) && (flags & FLAG.END_STREAM) !== 0;
}

/** Reads and forgets, until the other side ends the connection or patience does. */
function endOf(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => socket.destroy(), patienceMs);
    socket.on("error", () => undefined); // the close that follows says it
    socket.resume();
    socket.once("close", () => {
      clearTimeout(timer);
      resolve();
    });
  });
}

function suspectsOf(found: readonly string[], sent: readonly (Http1Mutant | Http2Mutant)[]): string[] {
  const text = found.join("\n");
  return sent
    .filter(({ number }) => new RegExp(`/(?:r|smuggled-)${number}\\b`).test(text))
    .map(
      ({ number, mutations, bytes }) =>
        `${number}: ${mutations.join(" + ")}\n${JSON.stringify(bytes.toString("latin1"))}`,
    );
}
