import { connect as connectTcp, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import type { TestIssued } from "./cert-factory.ts";
import { FLAG, FRAME, type Frame, frame, PREFACE, readFrames, settings } from "./http2-frames.ts";

/** One end of an HTTP/2 connection that sends what a test wants and keeps the frames that come. */
export interface Http2RawClient {
  readonly socket: Socket;
  readonly frames: readonly Frame[];
  readonly bytesSent: number;
  readonly closed: boolean;
  /** Whether the socket took it without asking for a pause. */
  send(bytes: Uint8Array): boolean;
  /** Resolves with the first frame, old or new, that fits; rejects when the connection ends without one. */
  next(fits: (frame: Frame) => boolean): Promise<Frame>;
  /** Resolves with the code and text of the GOAWAY, if there was one, once the connection is closed. */
  end(): Promise<GoAway | undefined>;
  destroy(): void;
}

export interface GoAway {
  readonly code: number;
  readonly detail: string;
}

export interface Http2RawOptions {
  /** Speaks mutual TLS as this identity; plaintext by prior knowledge without. */
  readonly identity?: Pick<TestIssued, "chainPem" | "keyPem">;
  /** Default h2. */
  readonly alpn?: string;
  /** Sent with the preface. */
  readonly settings?: readonly (readonly [id: number, value: number])[];
  /** Reads nothing until resume() of the socket. */
  readonly paused?: boolean;
  /** Whether SETTINGS and PING of the other side are acknowledged. Default true. */
  readonly polite?: boolean;
  /** Whether frames are kept. Default true. */
  readonly keep?: boolean;
}

/** Connects to 127.0.0.1:`port` and sends preface and SETTINGS. */
export async function http2RawClient(port: number, options: Http2RawOptions = {}): Promise<Http2RawClient> {
  const { identity, polite = true, keep = true } = options;
  const socket =
    identity === undefined
      ? connectTcp({ port, host: "127.0.0.1", noDelay: true })
      : connectTls({
          port,
          host: "127.0.0.1",
          cert: identity.chainPem,
          key: identity.keyPem,
          rejectUnauthorized: false,
          ALPNProtocols: [options.alpn ?? "h2"],
        });
  await new Promise<void>((resolve, reject) => {
    socket.once(identity === undefined ? "connect" : "secureConnect", resolve);
    socket.once("error", reject);
  });
  const frames: Frame[] = [];
  const watchers = new Set<() => void>();
  let goAway: GoAway | undefined;
  let pending: Buffer = Buffer.alloc(0);
  let bytesSent = 0;
  let closed = false;
  const tell = (): void => {
    for (const watcher of watchers) watcher();
  };
  const send = (bytes: Uint8Array): boolean => {
    bytesSent += bytes.length;
    return !socket.destroyed && socket.write(bytes);
  };
  socket.on("error", () => undefined); // the close that follows says it
  socket.on("close", () => {
    closed = true;
    tell();
  });
  socket.on("data", (chunk: Buffer) => {
    const read = readFrames(pending.length === 0 ? chunk : Buffer.concat([pending, chunk]));
    pending = Buffer.from(read.rest);
    for (const one of read.frames) {
      if (one.type === FRAME.GOAWAY)
        goAway = { code: one.payload.readUInt32BE(4), detail: one.payload.toString("latin1", 8) };
      if (keep) frames.push({ ...one, payload: Buffer.from(one.payload) });
      if (!polite || (one.flags & FLAG.ACK) !== 0) continue;
      if (one.type === FRAME.SETTINGS) send(frame(FRAME.SETTINGS, FLAG.ACK, 0));
      if (one.type === FRAME.PING) send(frame(FRAME.PING, FLAG.ACK, 0, one.payload));
    }
    tell();
  });
  if (options.paused === true) socket.pause();
  send(Buffer.concat([PREFACE, settings(...(options.settings ?? []))]));
  const wait = <T>(look: () => T | undefined, failed: () => Error | undefined): Promise<T> =>
    new Promise((resolve, reject) => {
      const watcher = (): void => {
        const found = look();
        const error = found === undefined ? failed() : undefined;
        if (found === undefined && error === undefined) return;
        watchers.delete(watcher);
        if (found !== undefined) resolve(found);
        else reject(error ?? new Error("closed"));
      };
      watchers.add(watcher);
      watcher();
    });
  return {
    socket,
    frames,
    get bytesSent() {
      return bytesSent;
    },
    get closed() {
      return closed;
    },
    send,
    next: (fits) =>
      wait(
        () => frames.find(fits),
        () => (closed ? new Error(`closed${goAway === undefined ? "" : `: ${goAway.detail}`}`) : undefined),
      ),
    end: async () => {
      await wait(
        () => (closed ? true : undefined),
        () => undefined,
      );
      return goAway;
    },
    destroy: () => void socket.destroy(),
  };
}
