import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Http2Endpoint, type SeenStream, settle } from "../../../test/support/http2-endpoint.ts";
import {
  FLAG,
  FRAME,
  frame,
  headers,
  PREFACE,
  readFrames,
  reset,
  settings,
  windowUpdate,
} from "../../../test/support/http2-frames.ts";
import * as frames from "./frames.ts";
import { WindowAllowance } from "./window-allowance.ts";

function pair(limits: ConstructorParameters<typeof Http2Endpoint>[1] = {}): {
  client: Http2Endpoint;
  server: Http2Endpoint;
} {
  const client = new Http2Endpoint("client", limits);
  const server = new Http2Endpoint("server", limits);
  settle(client, server);
  return { client, server };
}

function seenBy(server: Http2Endpoint, stream: SeenStream): SeenStream {
  const seen = server.seen.get(stream.stream.id);
  if (seen === undefined) throw new Error("the other side has not seen the stream");
  return seen;
}

/** Frames as their types and flags, from bytes without a preface. */
function framesIn(bytes: Buffer): string[] {
  const found: string[] = [];
  for (let at = 0; at < bytes.length; ) {
    const length = bytes.readUIntBE(at, 3);
    found.push(`${bytes[at + 3]}/${bytes[at + 4]}/${bytes.readUInt32BE(at + 5)}/${length}`);
    at += 9 + length;
  }
  return found;
}

describe("a request and its response", () => {
  test("pass with body, trailers and an interim response", () => {
    const { client, server } = pair();
    const call = client.request("POST", "/a?b", ["content-type", "text/plain"]);
    client.codec.data(call.stream, Buffer.from("hello"));
    client.codec.end(call.stream, { raw: ["x-sum", "5"], lower: ["x-sum"] });
    settle(client, server);
    const seen = seenBy(server, call);
    expect(seen.request).toMatchObject({ method: "POST", path: "/a", query: "?b", authority: "a.example", version: 2 });
    expect(seen.body.toString()).toBe("hello");
    expect(seen.trailers).toEqual({ raw: ["x-sum", "5"], lower: ["x-sum"] });
    server.respond(seen, 103);
    server.respond(seen, 200, ["x-a", "b"]);
    server.codec.data(seen.stream, Buffer.from("answer"));
    server.codec.end(seen.stream, undefined);
    settle(client, server);
    expect(call.responses.map(({ status }) => status)).toEqual([103, 200]);
    expect(call.body.toString()).toBe("answer");
    expect([call.ended, call.closed, seen.closed]).toEqual([true, true, true]);
    expect([client.codec.openStreams, server.codec.openStreams]).toEqual([0, 0]);
  });

  test("say the end on the frame before, as long as that has not left", () => {
    const { client, server } = pair();
    const bare = client.request("GET", "/");
    client.codec.end(bare.stream, undefined);
    const body = client.request("POST", "/");
    client.codec.data(body.stream, Buffer.from("x"));
    client.codec.end(body.stream, undefined);
    const sent = client.out.take();
    expect(framesIn(sent).map((text) => text.split("/").slice(0, 3).join("/"))).toEqual(["1/5/1", "1/4/3", "0/1/3"]);
    server.push(sent);
    expect([seenBy(server, bare).ended, seenBy(server, body).ended]).toEqual([true, true]);
    const late = client.request("POST", "/");
    client.codec.data(late.stream, Buffer.from("y"));
    server.push(client.out.take());
    client.codec.end(late.stream, undefined);
    expect(framesIn(client.out.take())).toEqual(["0/1/5/0"]);
  });

  test("of another stream in between don't get each other's end", () => {
    const { client, server } = pair();
    const one = client.request("POST", "/1");
    const two = client.request("POST", "/2");
    client.codec.end(one.stream, undefined);
    settle(client, server);
    expect([seenBy(server, one).ended, seenBy(server, two).ended]).toEqual([true, false]);
  });

  test("with a head larger than a frame is cut into CONTINUATION frames and read whole", () => {
    const { client, server } = pair();
    const big = "v".repeat(18_000);
    const call = client.request("GET", "/", ["x-a", big, "x-b", big, "x-c", big]);
    client.codec.end(call.stream, undefined);
    settle(client, server);
    const seen = seenBy(server, call);
    expect(seen.request?.fields.raw.filter((text) => text === big)).toHaveLength(3);
    expect(seen.ended).toBe(true);
  });
});

test("any split of the bytes gives the same calls", () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(3000), fc.nat(3000), fc.boolean()), { minLength: 1, maxLength: 6 }),
      fc.array(fc.integer({ min: 1, max: 4000 }), { minLength: 1, maxLength: 20 }),
      (calls, sizes) => {
        let next = 0;
        const cut = (bytes: Buffer): Buffer[] => {
          const pieces: Buffer[] = [];
          for (let at = 0; at < bytes.length; ) {
            const size = sizes[next++ % sizes.length] ?? 1;
            pieces.push(bytes.subarray(at, at + size));
            at += size;
          }
          return pieces;
        };
        const client = new Http2Endpoint("client");
        const server = new Http2Endpoint("server");
        settle(client, server, cut);
        const made = calls.map(([up, , trailers], at) => {
          const call = client.request("POST", `/${at}`, ["x-n", String(at)]);
          client.codec.data(call.stream, Buffer.alloc(up, at + 1));
          client.codec.end(call.stream, trailers ? { raw: ["x-t", String(at)], lower: ["x-t"] } : undefined);
          return call;
        });
        settle(client, server, cut);
        for (const [at, call] of made.entries()) {
          const seen = seenBy(server, call);
          const [up, down, trailers] = calls[at] ?? [0, 0, false];
          expect(seen.body.equals(Buffer.alloc(up, at + 1))).toBe(true);
          expect([seen.ended, seen.trailers?.raw[1]]).toEqual([true, trailers ? String(at) : undefined]);
          server.respond(seen, 200, ["content-length", String(down)]);
          server.codec.data(seen.stream, Buffer.alloc(down, 200 - at));
          server.codec.end(seen.stream, undefined);
        }
        settle(client, server, cut);
        for (const [at, call] of made.entries()) {
          expect(call.body.equals(Buffer.alloc(calls[at]?.[1] ?? 0, 200 - at))).toBe(true);
          expect([call.ended, call.closed]).toEqual([true, true]);
        }
      },
    ),
    { numRuns: 150 },
  );
});

describe("flow control", () => {
  test("holds a sender whose reader rests at the stream's window, and lets it go on", () => {
    const { client, server } = pair();
    const call = client.request("POST", "/");
    server.onRequestSeen = ({ stream }) => server.codec.pause(stream);
    client.codec.data(call.stream, Buffer.alloc(300_000, 7));
    client.codec.end(call.stream, undefined);
    settle(client, server);
    const seen = seenBy(server, call);
    expect(seen.body).toHaveLength(0);
    expect(call.stream.sendWindow).toBe(0);
    expect(client.codec.isCongested(call.stream)).toBe(true);
    server.codec.resume(seen.stream);
    settle(client, server);
    expect(seen.body.equals(Buffer.alloc(300_000, 7))).toBe(true);
    expect(seen.ended).toBe(true);
  });

  test("of one stream that rests doesn't hold the others", () => {
    const { client, server } = pair();
    server.onRequestSeen = ({ request, stream }) => {
      if (request?.path === "/rest") server.codec.pause(stream);
    };
    const resting = Array.from({ length: 40 }, () => client.request("POST", "/rest"));
    for (const { stream } of resting) client.codec.data(stream, Buffer.alloc(100_000));
    const call = client.request("POST", "/go");
    client.codec.data(call.stream, Buffer.alloc(2_000_000, 1));
    client.codec.end(call.stream, undefined);
    settle(client, server);
    expect(seenBy(server, call).body).toHaveLength(2_000_000);
    // what is held is bounded by each stream's window
    expect(resting.every(({ stream }) => stream.queuedBytes === 100_000 - 65_536)).toBe(true);
    for (const seen of server.seen.values()) if (seen.request?.path === "/rest") server.codec.resume(seen.stream);
    settle(client, server);
    expect(resting.every((seen) => seenBy(server, seen).body.length === 100_000)).toBe(true);
  });

  test("tells who waits once there is room", () => {
    const { client, server } = pair();
    const call = client.request("POST", "/");
    server.onRequestSeen = ({ stream }) => server.codec.pause(stream);
    client.codec.data(call.stream, Buffer.alloc(65_536));
    settle(client, server);
    expect(client.codec.isCongested(call.stream)).toBe(true);
    expect(call.writable).toBe(0);
    server.codec.resume(seenBy(server, call).stream);
    settle(client, server);
    expect(call.writable).toBe(1);
    expect(client.codec.isCongested(call.stream)).toBe(false);
  });

  test("gives the connection's window back for streams that are reset in the middle", () => {
    const { client, server } = pair();
    for (let i = 0; i < 60; i++) {
      const call = client.request("POST", "/");
      server.onRequestSeen = ({ stream }) => server.codec.pause(stream);
      client.codec.data(call.stream, Buffer.alloc(65_536));
      settle(client, server);
      server.nowMs += 1000;
      client.codec.resetStream(call.stream, frames.CANCEL);
      settle(client, server);
    }
    server.onRequestSeen = undefined;
    const call = client.request("POST", "/");
    client.codec.data(call.stream, Buffer.alloc(1_000_000));
    client.codec.end(call.stream, undefined);
    settle(client, server);
    expect(seenBy(server, call).body).toHaveLength(1_000_000);
  });

  test("grows with use: a reader that keeps up gets a larger window", () => {
    const { client, server } = pair();
    const call = client.request("POST", "/");
    for (let i = 0; i < 64; i++) {
      client.codec.data(call.stream, Buffer.alloc(65_536));
      settle(client, server);
    }
    expect(seenBy(server, call).stream.window).toBe(512 * 1024);
  });
});

describe("the end of a stream before its end", () => {
  test("reaches the other side with its code", () => {
    const { client, server } = pair();
    const call = client.request("POST", "/");
    settle(client, server);
    client.codec.resetStream(call.stream, frames.CANCEL);
    settle(client, server);
    expect(seenBy(server, call)).toMatchObject({ reset: frames.CANCEL, closed: true });
  });

  test("of a server that has answered stops the caller's body, behind all of the answer", () => {
    const { client, server } = pair();
    const call = client.request("POST", "/");
    settle(client, server);
    const seen = seenBy(server, call);
    server.respond(seen, 413);
    server.codec.data(seen.stream, Buffer.alloc(200_000, 1));
    server.codec.endAndCancel(seen.stream);
    settle(client, server);
    expect(call.body).toHaveLength(200_000);
    expect([call.ended, call.reset]).toEqual([true, frames.NO_ERROR]);
    // what was on its way is no fault
    expect(server.push(Buffer.from([0, 0, 1, 0, 0, 0, 0, 0, call.stream.id, 120]))).toBeUndefined();
  });

  test.each([
    ["before the answer", true],
    ["while the answer waits for window", false],
  ])("of a server that wants nothing of a held body leave no stream, whose end came %s", (_, isBefore) => {
    const { client, server } = pair();
    for (let i = 0; i < 3; i++) {
      const call = client.request("POST", "/");
      settle(client, server);
      const seen = seenBy(server, call);
      server.codec.pause(seen.stream);
      client.codec.pauseData(call.stream);
      const body = (): void => {
        client.codec.data(call.stream, Buffer.alloc(1_000, 1));
        client.codec.end(call.stream, undefined);
        settle(client, server);
      };
      if (isBefore) body();
      server.respond(seen, 403);
      server.codec.data(seen.stream, Buffer.alloc(200_000, 1));
      server.codec.endAndCancel(seen.stream);
      if (!isBefore) body();
      settle(client, server);
      client.codec.resume(call.stream);
      settle(client, server);
      expect(call.body).toHaveLength(200_000);
      expect([call.ended, call.reset, seen.body.length]).toEqual([true, undefined, 0]);
      expect([client.codec.openStreams, server.codec.openStreams]).toEqual([0, 0]);
    }
  });

  test("that breaks content-length is told to both", () => {
    const { client, server } = pair();
    const call = client.request("POST", "/", ["content-length", "3"]);
    client.codec.data(call.stream, Buffer.from("abcd"));
    settle(client, server);
    expect(seenBy(server, call).reset).toBe(frames.PROTOCOL_ERROR);
    expect(call.reset).toBe(frames.PROTOCOL_ERROR);
    const short = client.request("POST", "/", ["content-length", "3"]);
    client.codec.data(short.stream, Buffer.from("ab"));
    client.codec.end(short.stream, undefined);
    settle(client, server);
    expect(seenBy(server, short)).toMatchObject({ reset: frames.PROTOCOL_ERROR, ended: false });
  });
});

describe("what a peer can make us keep", () => {
  test("of a body in single bytes that nobody reads is not much more than the body", () => {
    const server = rawServer();
    server.onRequestSeen = ({ stream }) => server.codec.pause(stream);
    server.push(OPEN_POST);
    const bytes = Buffer.concat(Array.from({ length: 60_000 }, () => frame(FRAME.DATA, 0, 1, Buffer.from("x"))));
    expect(server.push(bytes)).toBeUndefined();
    const seen = server.seen.get(1);
    expect(seen?.stream.held?.pieces).toBeLessThan(8);
    server.codec.resume((seen as SeenStream).stream);
    expect(seen?.body).toHaveLength(60_000);
  });

  test("of streams that were reset while their output had no window is nothing", async () => {
    const server = rawServer();
    server.push(settings([4, 0]));
    const streams: WeakRef<object>[] = [];
    for (let id = 1; id < 100; id += 2) {
      server.nowMs += 1000;
      server.push(headers(id, GET));
      const seen = server.seen.get(id) as SeenStream;
      server.respond(seen, 200);
      server.codec.data(seen.stream, Buffer.alloc(1000));
      server.push(reset(id, 8));
      streams.push(new WeakRef(seen.stream));
      server.seen.delete(id);
    }
    // a weak reference holds its object until the end of the turn
    await new Promise((resolve) => setImmediate(resolve));
    setFlagsFromString("--expose-gc");
    (runInNewContext("gc") as () => void)();
    expect(streams.filter((one) => one.deref() !== undefined).length).toBeLessThan(5);
  });

  test("of windows that grew is bounded over all streams", () => {
    const { client, server } = pair();
    const calls = Array.from({ length: 60 }, () => client.request("POST", "/"));
    for (let round = 0; round < 40; round++) {
      for (const { stream } of calls) client.codec.data(stream, Buffer.alloc(65_536));
      settle(client, server);
    }
    const windows = calls.reduce((sum, call) => sum + seenBy(server, call).stream.window, 0);
    expect(windows).toBeLessThanOrEqual(60 * 65_536 + 4 * 1024 * 1024);
    for (const { stream } of calls) client.codec.end(stream, undefined);
    for (const seen of server.seen.values()) server.codec.endAndCancel(seen.stream);
    settle(client, server);
    // what streams that have ended had is free again
    const next = client.request("POST", "/");
    for (let round = 0; round < 64; round++) {
      client.codec.data(next.stream, Buffer.alloc(65_536));
      settle(client, server);
    }
    expect(seenBy(server, next).stream.window).toBe(512 * 1024);
  });
});

describe("answers whose caller may not take them", () => {
  const first = 4096;
  const full = 65_536;
  /** What the server gets rid of on each of so many streams, of answers without end. `reads`: calls whose reader takes what comes. */
  function answers(count: number, allowance: WindowAllowance | undefined, reads: (at: number) => boolean): number[] {
    const client = new Http2Endpoint("client", { streamWindow: first, fullWindow: full });
    const server = new Http2Endpoint("server");
    settle(client, server);
    const calls = Array.from({ length: count }, (_, at) => {
      const call = client.request("GET", `/${at}`);
      call.stream.allowance = allowance;
      client.codec.end(call.stream, undefined);
      if (!reads(at)) client.codec.pauseData(call.stream);
      return call;
    });
    settle(client, server);
    const left = calls.map(() => 0);
    for (let round = 0; round < 40; round++) {
      for (const [at, call] of calls.entries()) {
        const seen = seenBy(server, call);
        if (round === 0) server.respond(seen, 200);
        if (server.codec.isCongested(seen.stream)) continue;
        server.codec.data(seen.stream, Buffer.alloc(16_384));
        left[at] = (left[at] ?? 0) + 16_384;
      }
      settle(client, server);
    }
    for (const call of calls) client.codec.resetStream(call.stream, 8);
    return left.map((sent, at) => sent - seenBy(server, calls[at] as SeenStream).stream.queuedBytes);
  }

  test("send a small window's worth, those of others as much as they like", () => {
    const left = answers(20, new WindowAllowance(), (at) => at >= 18);
    expect(Math.max(...left.slice(0, 18))).toBe(first);
    expect(Math.min(...left.slice(18))).toBeGreaterThan(400_000);
  });

  test("are bounded together, for one caller, also where it takes something of each", () => {
    const allowance = new WindowAllowance();
    const client = new Http2Endpoint("client", { streamWindow: first, fullWindow: full });
    const calls = Array.from({ length: 100 }, () => {
      const call = client.request("GET", "/");
      call.stream.allowance = allowance;
      client.codec.expectMuch(call.stream);
      return call;
    });
    const windows = calls.reduce((sum, { stream }) => sum + stream.window, 0);
    expect(windows).toBeLessThanOrEqual(100 * first + 256 * 1024);
    // what streams that have ended had is free again
    for (const { stream } of calls) client.codec.resetStream(stream, 8);
    expect(allowance.take(256 * 1024)).toBe(true);
  });

  test("may take more the more of them was taken, up to a limit", () => {
    const allowance = new WindowAllowance();
    allowance.earn(1024 * 1024);
    expect([allowance.take(512 * 1024), allowance.take(1)]).toEqual([true, false]);
    allowance.earn(Number.MAX_SAFE_INTEGER);
    allowance.giveBack(512 * 1024);
    expect([allowance.take(4 * 1024 * 1024), allowance.take(1)]).toEqual([true, false]);
  });
});

describe("a complete response whose reader rests", () => {
  function answered(): { client: Http2Endpoint; server: Http2Endpoint; call: SeenStream; seen: SeenStream } {
    const { client, server } = pair();
    const call = client.request("POST", "/");
    settle(client, server);
    client.codec.pauseData(call.stream);
    const seen = seenBy(server, call);
    server.respond(seen, 413);
    server.codec.data(seen.stream, Buffer.alloc(30_000, 1));
    return { client, server, call, seen };
  }

  test("survives that the server does not want the rest of the request", () => {
    const { client, server, call, seen } = answered();
    server.codec.endAndCancel(seen.stream);
    client.codec.data(call.stream, Buffer.alloc(100_000));
    expect(client.codec.isCongested(call.stream)).toBe(true);
    settle(client, server);
    expect([call.ended, call.reset, call.writable]).toEqual([false, undefined, 1]);
    client.codec.data(call.stream, Buffer.alloc(100_000));
    expect(client.codec.isCongested(call.stream)).toBe(false);
    client.codec.resume(call.stream);
    expect(call).toMatchObject({ ended: true, closed: true, reset: undefined });
    expect(call.body).toHaveLength(30_000);
    expect(client.codec.openStreams).toBe(0);
  });

  test("outlives its connection, and an incomplete one does not", () => {
    const { client, server, call, seen } = answered();
    settle(client, server);
    expect(client.codec.outlives(call.stream)).toBe(false);
    server.codec.end(seen.stream, undefined);
    settle(client, server);
    expect(client.codec.outlives(call.stream)).toBe(true);
    client.codec.resume(call.stream);
    expect(call).toMatchObject({ ended: true, closed: true });
  });

  test("without a body ends at once", () => {
    const { client, server } = pair();
    const call = client.request("GET", "/");
    client.codec.end(call.stream, undefined);
    settle(client, server);
    client.codec.pauseData(call.stream);
    server.respond(seenBy(server, call), 200);
    server.codec.end(seenBy(server, call).stream, { raw: ["x-sum", "0"], lower: ["x-sum"] });
    settle(client, server);
    expect(call).toMatchObject({ ended: true, closed: true });
  });
});

describe("a head that can't be written", () => {
  const POISON = "a\nb";

  test("is taken back, and ends its stream alone", () => {
    const { client, server } = pair();
    const [bad, good] = [client.request("GET", "/1"), client.request("GET", "/2")];
    for (const { stream } of [bad, good]) client.codec.end(stream, undefined);
    settle(client, server);
    server.respond(seenBy(server, good), 200, ["x-a", "b"]);
    expect(() => server.respond(seenBy(server, bad), 200, ["x-a", "b", "x-bad", POISON])).toThrow(TypeError);
    server.codec.dropHeaders(seenBy(server, bad).stream);
    server.codec.end(seenBy(server, good).stream, undefined);
    settle(client, server);
    expect(bad).toMatchObject({ reset: frames.INTERNAL_ERROR, responses: [] });
    expect(good.ended).toBe(true);
    const after = client.request("GET", "/3", ["x-a", "b"]);
    client.codec.end(after.stream, undefined);
    settle(client, server);
    server.respond(seenBy(server, after), 200, ["x-a", "b"]);
    settle(client, server);
    expect(after.responses[0]?.fields.raw).toEqual(["x-a", "b"]);
  });

  test("of a request leaves no trace of its stream", () => {
    const { client, server } = pair();
    const stream = client.codec.open("GET");
    client.codec.beginHeaders(stream);
    expect(() => client.codec.field("x-bad", POISON)).toThrow(TypeError);
    client.codec.dropHeaders(stream);
    expect(client.out.length).toBe(0);
    expect(client.codec.openStreams).toBe(0);
    const call = client.request("GET", "/");
    settle(client, server);
    expect(seenBy(server, call).request?.path).toBe("/");
  });

  test("of trailers resets the stream", () => {
    const { client, server } = pair();
    const call = client.request("POST", "/");
    client.codec.end(call.stream, { raw: ["x-bad", POISON], lower: ["x-bad"] });
    expect(call).toMatchObject({ reset: frames.INTERNAL_ERROR, closed: true });
    settle(client, server);
    expect(seenBy(server, call)).toMatchObject({ reset: frames.INTERNAL_ERROR, ended: false });
  });
});

test("a head that is under way stays the same one until it is whole, and the next is another", () => {
  const server = rawServer();
  const whole = headers(1, GET, FLAG.END_STREAM);
  const rest = frame(FRAME.CONTINUATION, FLAG.END_HEADERS, 1);
  const next = headers(3, GET);
  const bytes = Buffer.concat([whole, rest, next]);
  const numbers: number[] = [];
  for (const byte of bytes) {
    server.push(Buffer.from([byte]));
    numbers.push(server.codec.headUnderWay);
  }
  const first = whole.length + rest.length;
  expect(numbers[first - 1]).toBe(0);
  expect(new Set(numbers.slice(0, first - 1)).size).toBe(1);
  expect(new Set(numbers.slice(first, -1)).size).toBe(1);
  expect(numbers[first]).not.toBe(numbers[0]);
  expect([numbers.at(-1), server.seen.size]).toEqual([0, 2]);
  // one read may end the first and begin the second
  const other = rawServer();
  other.push(bytes.subarray(0, 20));
  const before = other.codec.headUnderWay;
  other.push(bytes.subarray(20, first + 12));
  expect(other.codec.headUnderWay).not.toBe(before);
});

test("interim responses end the stream that has too many, and no other", () => {
  const { client, server } = pair();
  const calls = Array.from({ length: 10 }, () => client.request("GET", "/"));
  for (const { stream } of calls) client.codec.end(stream, undefined);
  settle(client, server);
  for (const call of calls.slice(1)) {
    for (let at = 0; at < 60; at++) server.respond(seenBy(server, call), 102);
    settle(client, server);
  }
  const [first] = calls as [SeenStream];
  for (let at = 0; at < 101; at++) server.respond(seenBy(server, first), 102);
  settle(client, server);
  expect(first.reset).toBe(frames.ENHANCE_YOUR_CALM);
  expect(calls.slice(1).every((call) => call.reset === undefined && call.responses.length === 60)).toBe(true);
});

test("streams that end in order make up for streams that are reset", () => {
  const server = rawServer();
  server.onRequestSeen = (seen) => {
    server.respond(seen, 204);
    server.codec.end(seen.stream, undefined);
  };
  for (let at = 0; at < 1000; at++) {
    const id = 4 * at + 1;
    expect(server.push(headers(id, GET))).toBeUndefined();
    const post = headers(id + 2, [[":method", "POST"], ...GET.slice(1)], FLAG.END_HEADERS);
    expect(server.push(Buffer.concat([post, reset(id + 2, 8)]))).toBeUndefined();
  }
});

describe("shutting down", () => {
  test("a server reads past what is sent on streams behind its last word", () => {
    const server = rawServer();
    server.push(OPEN_POST);
    server.codec.shutdown();
    server.codec.finishShutdown();
    const post = headers(3, [[":method", "POST"], ...GET.slice(1)], FLAG.END_HEADERS);
    const late = [post, frame(FRAME.DATA, 0, 3, Buffer.from("x")), windowUpdate(3, 1), reset(3, 8)];
    expect(server.push(Buffer.concat(late))).toBeUndefined();
    expect(server.seen.has(3)).toBe(false);
    server.push(frame(FRAME.DATA, FLAG.END_STREAM, 1, Buffer.from("y")));
    expect(server.seen.get(1)).toMatchObject({ ended: true, body: Buffer.from("y") });
  });

  test("a server serves what was opened before the caller heard of it, and nothing behind", () => {
    const { client, server } = pair();
    const before = client.request("GET", "/1");
    client.codec.end(before.stream, undefined);
    settle(client, server);
    server.codec.shutdown();
    const meanwhile = client.request("GET", "/2");
    client.codec.end(meanwhile.stream, undefined);
    settle(client, server);
    expect(client.codec.canOpen).toBe(false);
    expect(client.goaways).toEqual([frames.MAX_WINDOW, meanwhile.stream.id]);
    expect(server.codec.isFinished).toBe(false);
    for (const call of [before, meanwhile]) {
      server.respond(seenBy(server, call), 200);
      server.codec.end(seenBy(server, call).stream, undefined);
    }
    settle(client, server);
    expect([before.ended, meanwhile.ended]).toEqual([true, true]);
    expect(server.codec.isFinished).toBe(true);
  });

  test("a client hears that streams above the last one were not processed", () => {
    const { client, server } = pair();
    const call = client.request("POST", "/");
    settle(client, server);
    const goaway = Buffer.alloc(17);
    goaway.writeUIntBE(8, 0, 3);
    goaway[3] = frames.GOAWAY;
    client.push(goaway);
    expect(call).toMatchObject({ reset: frames.REFUSED_STREAM, closed: true });
  });
});

test("a client opens no more streams than the server takes", () => {
  const { client, server } = pair({ streams: 2 });
  const calls = [client.request("POST", "/1"), client.request("POST", "/2")];
  expect(client.codec.canOpen).toBe(false);
  settle(client, server);
  client.codec.resetStream((calls[0] as SeenStream).stream, frames.CANCEL);
  expect(client.codec.canOpen).toBe(true);
});

/** Bytes of a client that has greeted. */
function rawServer(limits: ConstructorParameters<typeof Http2Endpoint>[1] = {}): Http2Endpoint {
  const server = new Http2Endpoint("server", limits);
  server.push(Buffer.concat([PREFACE, settings()]));
  server.out.take();
  return server;
}

const GET = [
  [":method", "GET"],
  [":scheme", "https"],
  [":authority", "a"],
  [":path", "/"],
] as const;
const OPEN_POST = headers(1, [[":method", "POST"], ...GET.slice(1)], FLAG.END_HEADERS);
const uint32 = (value: number): Buffer => Buffer.from([value >>> 24, value >>> 16, value >>> 8, value]);

test.each([
  ["a stream of even number", headers(2, GET), frames.PROTOCOL_ERROR],
  ["a stream whose number goes back", [headers(5, GET), headers(3, GET)], frames.STREAM_CLOSED],
  ["HEADERS on stream 0", headers(0, GET), frames.PROTOCOL_ERROR],
  ["DATA on stream 0", frame(FRAME.DATA, 0, 0), frames.PROTOCOL_ERROR],
  ["DATA on a stream that was never opened", frame(FRAME.DATA, 0, 1), frames.PROTOCOL_ERROR],
  [
    "DATA with more padding than payload",
    [OPEN_POST, frame(FRAME.DATA, FLAG.PADDED, 1, Buffer.from([9, 0]))],
    frames.PROTOCOL_ERROR,
  ],
  ["a frame larger than our limit", Buffer.from([1, 0, 1, 0, 0, 0, 0, 0, 1]), frames.FRAME_SIZE_ERROR],
  ["CONTINUATION without HEADERS", frame(FRAME.CONTINUATION, FLAG.END_HEADERS, 1), frames.PROTOCOL_ERROR],
  [
    "a block interrupted by PING",
    [headers(1, GET, 0), frame(FRAME.PING, 0, 0, Buffer.alloc(8))],
    frames.PROTOCOL_ERROR,
  ],
  [
    "a block that HPACK can't read",
    frame(FRAME.HEADERS, FLAG.END_HEADERS, 1, Buffer.from([0xff, 0xff])),
    frames.COMPRESSION_ERROR,
  ],
  ["a PUSH_PROMISE", frame(FRAME.PUSH_PROMISE, 0, 1, Buffer.alloc(8)), frames.PROTOCOL_ERROR],
  ["a PING of 7 octets", frame(FRAME.PING, 0, 0, Buffer.alloc(7)), frames.FRAME_SIZE_ERROR],
  ["SETTINGS of 5 octets", frame(FRAME.SETTINGS, 0, 0, Buffer.alloc(5)), frames.FRAME_SIZE_ERROR],
  ["SETTINGS on a stream", frame(FRAME.SETTINGS, 0, 1), frames.PROTOCOL_ERROR],
  ["a window above 2^31-1 for streams to come", settings([4, 0x8000_0000]), frames.FLOW_CONTROL_ERROR],
  ["a frame size below 2^14", settings([5, 16_383]), frames.PROTOCOL_ERROR],
  ["a push switch of 2", settings([2, 2]), frames.PROTOCOL_ERROR],
  ["a WINDOW_UPDATE of zero", windowUpdate(0, 0), frames.PROTOCOL_ERROR],
  ["a connection window above 2^31-1", windowUpdate(0, 0x7fff_ffff), frames.FLOW_CONTROL_ERROR],
  ["a RST_STREAM on a stream that was never opened", reset(1, 8), frames.PROTOCOL_ERROR],
  ["a RST_STREAM of 5 octets", [OPEN_POST, frame(FRAME.RST_STREAM, 0, 1, Buffer.alloc(5))], frames.FRAME_SIZE_ERROR],
  ["a GOAWAY of 4 octets", frame(FRAME.GOAWAY, 0, 0, Buffer.alloc(4)), frames.FRAME_SIZE_ERROR],
  [
    "a stream that depends on itself",
    frame(FRAME.PRIORITY, 0, 1, Buffer.concat([uint32(1), Buffer.from([0])])),
    frames.PROTOCOL_ERROR,
  ],
])("%s ends the connection with its code", (_, sent, code) => {
  const server = rawServer();
  const violation = server.push(Array.isArray(sent) ? Buffer.concat(sent) : sent);
  expect(violation?.code).toMatch(/^E_HTTP2_/);
  const goaway = readFrames(server.out.take()).frames.find(({ type }) => type === FRAME.GOAWAY);
  expect(goaway?.payload.readUInt32BE(4)).toBe(code);
  // whatever comes behind is not read
  expect(server.push(headers(9, GET))).toBe(violation);
  expect(server.seen.has(9)).toBe(false);
});

test.each([
  [
    "DATA behind the end of the stream",
    [headers(1, GET), frame(FRAME.DATA, 0, 1, Buffer.from("x"))],
    frames.STREAM_CLOSED,
  ],
  [
    "DATA beyond the stream's window",
    [OPEN_POST, ...Array.from({ length: 5 }, () => frame(FRAME.DATA, 0, 1, Buffer.alloc(16_384)))],
    frames.FLOW_CONTROL_ERROR,
  ],
  [
    "trailers that don't end the stream",
    [OPEN_POST, headers(1, [["x-a", "b"]], FLAG.END_HEADERS)],
    frames.PROTOCOL_ERROR,
  ],
  ["trailers with a pseudo-header", [OPEN_POST, headers(1, [[":path", "/"]])], frames.PROTOCOL_ERROR],
  ["a WINDOW_UPDATE of zero", [OPEN_POST, windowUpdate(1, 0)], frames.PROTOCOL_ERROR],
  ["a window above 2^31-1", [OPEN_POST, windowUpdate(1, 0x7fff_ffff)], frames.FLOW_CONTROL_ERROR],
])("%s resets the stream, and the connection goes on", (_, sent, code) => {
  const server = rawServer();
  server.onRequestSeen = ({ stream }) => server.codec.pause(stream);
  expect(server.push(Buffer.concat(sent))).toBeUndefined();
  const found = framesIn(server.out.take()).filter((text) => text.startsWith("3/"));
  expect(found).toEqual(["3/0/1/4"]);
  expect(server.seen.get(1)?.reset).toBe(code);
  server.push(headers(3, GET));
  expect(server.seen.get(3)?.request?.method).toBe("GET");
});

const rapidReset = (at: number): Buffer =>
  Buffer.concat([headers(2 * at + 1, GET, FLAG.END_HEADERS), reset(2 * at + 1, 8)]);

test.each([
  ["streams opened and reset", rapidReset, 250],
  [
    "streams that we are made to reset",
    (at: number) => Buffer.concat([headers(2 * at + 1, GET, FLAG.END_HEADERS), windowUpdate(2 * at + 1, 0)]),
    150,
  ],
  ["PINGs", () => frame(FRAME.PING, 0, 0, Buffer.alloc(8)), 150],
  ["SETTINGS", () => settings(), 50],
  [
    "PRIORITY frames",
    (at: number) => frame(FRAME.PRIORITY, 0, 2 * at + 3, Buffer.concat([uint32(0), Buffer.from([1])])),
    400,
  ],
  ["WINDOW_UPDATEs", () => windowUpdate(0, 1), 1500],
  ["unknown frames", () => frame(99, 0, 0), 100],
  ["empty DATA frames", (at: number) => (at === 0 ? OPEN_POST : frame(FRAME.DATA, 0, 1)), 100],
  [
    "CONTINUATION frames",
    (at: number) => (at === 0 ? headers(1, GET, 0) : frame(FRAME.CONTINUATION, 0, 1, Buffer.from([0x82]))),
    40,
  ],
])("a flood of %s ends the connection with ENHANCE_YOUR_CALM", (kind, next, enough) => {
  const server = rawServer();
  let violation: ReturnType<typeof server.push>;
  let sent = 0;
  while (violation === undefined && sent < enough) violation = server.push(next(sent++));
  expect(violation?.code).toBe("E_HTTP2_FLOOD");
  expect(server.codec.openStreams).toBeLessThanOrEqual(100);
  // the same at a pace that nobody minds goes on
  const calm = rawServer();
  for (let at = 0; at < enough && kind !== "CONTINUATION frames"; at++) {
    calm.nowMs += 1000;
    expect(calm.push(next(at))).toBeUndefined();
  }
});

test("a server refuses streams above its limit, which can be tried again", () => {
  const server = rawServer({ streams: 2 });
  for (let at = 0; at < 3; at++) server.push(headers(2 * at + 1, GET, FLAG.END_HEADERS));
  expect(server.seen.size).toBe(2);
  expect(server.refused).toEqual([5]);
  expect(server.out.take().toString("hex")).toContain("00000403000000000500000007");
});

describe("a client that opens more streams than it may", () => {
  const open = (at: number): Buffer => headers(2 * at + 1, GET, FLAG.END_HEADERS);
  const acknowledge = frame(FRAME.SETTINGS, FLAG.ACK, 0);

  test("before it has read how many, has those refused and goes on", () => {
    const server = rawServer({ streams: 2 });
    for (let at = 0; at < 900; at++) expect(server.push(open(at))).toBeUndefined();
    expect(server.refused).toHaveLength(898);
    // bodies and trailers of refused streams may still come, and those that it sent first are long forgotten
    for (const id of [5, 1799]) expect(server.push(frame(FRAME.DATA, 0, id, Buffer.alloc(10)))).toBeUndefined();
    expect(server.push(headers(7, [["x-sum", "1"]]))).toBeUndefined();
    expect(server.push(acknowledge)).toBeUndefined();
    server.push(Buffer.concat([frame(FRAME.DATA, FLAG.END_STREAM, 1, Buffer.from("a"))]));
    expect(server.seen.get(1)).toMatchObject({ ended: true });
  });

  test.each([
    ["that never says that it has read it", 10_000, undefined],
    ["although it has read it", 500, acknowledge],
  ])("%s is cut off in the end", (_name, most, first) => {
    const server = rawServer({ streams: 2 });
    if (first !== undefined) server.push(first);
    let violation: ReturnType<typeof server.push>;
    let at = 0;
    while (violation === undefined && at < most) violation = server.push(open(at++));
    expect(violation).toMatchObject({ code: "E_HTTP2_FLOOD", detail: "too many: provokedResets" });
  });
});

test("what is no HTTP/2 at all is told apart from HTTP/2 that is broken", () => {
  const server = new Http2Endpoint("server");
  expect(server.push(Buffer.from("GET / HTTP/1.1\r\n"))?.code).toBe("E_HTTP2_PROTOCOL");
  const client = new Http2Endpoint("client");
  expect(client.push(Buffer.from("HTTP/1.1 400 Bad Request\r\n\r\n"))?.code).toBe("E_HTTP2_PREFACE");
});
