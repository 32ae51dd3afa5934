import { connect as connectTls, type TLSSocket } from "node:tls";
import { HpackDecoder } from "../../../src/proxy/http2/hpack-decoder.ts";
import type { TestIssued } from "../../support/cert-factory.ts";
import { FLAG, FRAME, type Frame, frame, headerBlock } from "../../support/http2-frames.ts";
import { http2RawClient } from "../../support/http2-raw-client.ts";
import { type RawClient, rawClient, wrapRawClient } from "../../support/raw-client.ts";

/** What came back: an answer's head, or how the connection or stream ended without one. */
export interface WireAnswer {
  /** A status, `closed`, `reset` (of the stream), or `bytes` where the app speaks no HTTP. */
  readonly what: string;
  readonly headers: Readonly<Record<string, string>>;
}

/** A call that may go on behind the head of its answer. */
export interface WireCall {
  readonly answer: WireAnswer;
  /** Resolves with `closed` or `reset` once the sidecar has ended it. */
  readonly ended: () => Promise<string>;
  readonly leave: () => void;
}

/** How a caller comes: in plaintext, or by TLS with or without a certificate. */
export interface Caller {
  readonly tls: boolean;
  readonly issued?: TestIssued | undefined;
  readonly alpn?: string | undefined;
  readonly sni?: string | undefined;
  /** Sent before the handshake: a PROXY header. */
  readonly before?: string | undefined;
}

function connected(raw: RawClient, { tls, issued, alpn, sni, before }: Caller): RawClient {
  if (before !== undefined) raw.send(Buffer.from(before, "latin1"));
  if (!tls) return raw;
  raw.socket.removeAllListeners("data");
  const socket: TLSSocket = connectTls({
    socket: raw.socket,
    rejectUnauthorized: false,
    ...(issued === undefined ? {} : { cert: issued.chainPem, key: issued.keyPem }),
    ...(alpn === undefined ? {} : { ALPNProtocols: [alpn] }),
    ...(sni === undefined ? {} : { servername: sni }),
  });
  socket.on("error", () => undefined);
  return wrapRawClient(socket);
}

/** Sends bytes, one a character, and reads the head of the answer. */
export async function sendBytes(port: number, caller: Caller, bytes: string): Promise<WireCall> {
  const raw = await rawClient(port);
  const client = connected(raw, caller);
  if (bytes !== "") client.send(Buffer.from(bytes, "latin1"));
  return {
    answer: await headOf(client),
    ended: () => client.closed().then(() => "closed"),
    // A caller that only ends its side still waits for the answer.
    leave: () => void raw.socket.resetAndDestroy(),
  };
}

async function headOf(client: RawClient): Promise<WireAnswer> {
  try {
    const text = await client.until((received) => received.includes("\r\n\r\n") || received.startsWith("app "));
    if (text.startsWith("app ")) return { what: "bytes", headers: {} };
    const [status = "", ...lines] = text.slice(0, text.indexOf("\r\n\r\n")).split("\r\n");
    const headers = lines.map((line) => {
      const colon = line.indexOf(":");
      return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()] as const;
    });
    return { what: status.split(" ")[1] ?? "", headers: Object.fromEntries(headers) };
  } catch {
    return { what: "closed", headers: {} };
  }
}

/** An HTTP/2 request: exactly these fields, and trailers after a body where there are some. */
export interface FieldsRequest {
  readonly fields: Fields;
  readonly trailers?: Fields | undefined;
  /** What goes through the tunnel that the fields open. */
  readonly tunnelled?: string | undefined;
}

type Fields = readonly (readonly [string, string])[];

/** Sends one request of HTTP/2 and reads the head of the answer, or how a tunnel ends. */
export async function sendFields(
  port: number,
  issued: TestIssued,
  alpn: string | undefined,
  { fields, trailers, tunnelled }: FieldsRequest,
): Promise<WireCall> {
  const client = await http2RawClient(port, { identity: issued, ...(alpn === undefined ? {} : { alpn }) });
  const end = FLAG.END_HEADERS | FLAG.END_STREAM;
  const isWhole = trailers === undefined && tunnelled === undefined;
  client.send(frame(FRAME.HEADERS, isWhole ? end : FLAG.END_HEADERS, 1, headerBlock(fields)));
  if (trailers !== undefined) {
    client.send(frame(FRAME.DATA, 0, 1, Buffer.from("x")));
    client.send(frame(FRAME.HEADERS, end, 1, headerBlock(trailers)));
  }
  if (tunnelled !== undefined) client.send(frame(FRAME.DATA, 0, 1, Buffer.from(tunnelled, "latin1")));
  const isEnd = ({ type, flags }: Frame): boolean => type === FRAME.RST_STREAM || (flags & FLAG.END_STREAM) !== 0;
  const isAnswer = (one: Frame): boolean =>
    tunnelled === undefined ? one.type === FRAME.HEADERS || one.type === FRAME.RST_STREAM : isEnd(one);
  const next = async (fits: (one: Frame) => boolean): Promise<WireAnswer> => {
    try {
      const answer = await client.next((one) => one.stream === 1 && fits(one));
      if (answer.type === FRAME.RST_STREAM) return { what: "reset", headers: {} };
      if (answer.type !== FRAME.HEADERS || tunnelled !== undefined) return { what: "closed", headers: {} };
      return decoded(answer);
    } catch {
      return { what: "closed", headers: {} };
    }
  };
  return {
    answer: await next(isAnswer),
    ended: () => next(isEnd).then(({ what }) => what),
    leave: () => client.destroy(),
  };
}

function decoded(answer: Frame): WireAnswer {
  const decoder = new HpackDecoder({ tableBytes: 4096, listBytes: 60_000, fields: 100 });
  const reason = decoder.decode(answer.payload, 0, answer.payload.length);
  if (reason !== undefined) throw new Error(reason);
  const headers = Object.fromEntries(decoder.fields.slice(0, decoder.count).map(({ name, value }) => [name, value]));
  return { what: headers[":status"] ?? "", headers };
}
