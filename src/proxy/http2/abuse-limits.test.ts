import { describe, expect, test } from "vitest";
import { integer, literal } from "../../../test/support/hpack-literals.ts";
import { HTTP2_LIMITS, Http2Endpoint, settle } from "../../../test/support/http2-endpoint.ts";
import {
  FLAG,
  FRAME,
  frame,
  headers,
  PREFACE,
  readFrames,
  requestFields,
  reset,
  settings,
  windowUpdate,
} from "../../../test/support/http2-frames.ts";
import type { AbuseLimits } from "./http2-limits.ts";

type Role = "server" | "client";

const ENHANCE_YOUR_CALM = 11;
const COMPRESSION_ERROR = 9;
const ACK = frame(FRAME.SETTINGS, FLAG.ACK, 0);
const ONCE = { burst: 1, perSecond: 1 };
const opened = (id: number): Buffer => headers(id, requestFields("/"), FLAG.END_HEADERS);
const beginOfBlock = frame(FRAME.HEADERS, 0, 1, literal(0x00, "a", "b"));
const continuation = frame(FRAME.CONTINUATION, 0, 1, literal(0x00, "a", "b"));

/** One that has had the other side's greeting, without its acknowledgement, and as a client has opened stream 1. */
function endpoint(role: Role, http2: Partial<AbuseLimits>): Http2Endpoint {
  const made = new Http2Endpoint(role, { http2: { ...HTTP2_LIMITS.http2, ...http2 } });
  if (role === "client") made.request("GET", "/");
  made.out.take();
  made.push(role === "server" ? Buffer.concat([PREFACE, settings()]) : settings());
  return made;
}

function goAwayOf({ out }: Http2Endpoint): { readonly code: number; readonly detail: string } | undefined {
  const last = readFrames(out.take()).frames.find(({ type }) => type === FRAME.GOAWAY);
  return last && { code: last.payload.readUInt32BE(4), detail: last.payload.toString("latin1", 8) };
}

interface Row {
  readonly option: keyof AbuseLimits;
  readonly roles: readonly Role[];
  readonly low: Partial<AbuseLimits>;
  /** What the option lets pass when it is set low. */
  readonly borne: readonly Buffer[];
  /** And what is too much then, but not by default. */
  readonly tooMuch: Buffer;
  readonly ends: { readonly goAway: number; readonly code: string; readonly detail: string };
}

const BOTH: readonly Role[] = ["server", "client"];
const flood = (detail: string): Row["ends"] => ({ goAway: ENHANCE_YOUR_CALM, code: "E_HTTP2_FLOOD", detail });
const frequent = (
  option: "pings" | "settings" | "priorities" | "windowUpdates" | "emptyFrames",
  one: Buffer,
  burst = 1,
): Row => ({
  option,
  roles: BOTH,
  low: { [option]: { burst, perSecond: 1 } },
  borne: [one],
  tooMuch: one,
  ends: flood(`too many: ${option}`),
});

const TABLE: readonly Row[] = [
  {
    option: "resets",
    roles: ["server"],
    low: { resets: ONCE },
    borne: [opened(1), reset(1, 8), opened(3)],
    tooMuch: reset(3, 8),
    ends: flood("too many: resets"),
  },
  {
    option: "provokedResets",
    roles: ["server"],
    low: { provokedResets: ONCE },
    borne: [opened(1), windowUpdate(1, 0), opened(3)],
    tooMuch: windowUpdate(3, 0),
    ends: flood("too many: provokedResets"),
  },
  frequent("pings", frame(FRAME.PING, 0, 0, Buffer.alloc(8))),
  // the greeting holds one
  frequent("settings", settings(), 2),
  frequent("priorities", frame(FRAME.PRIORITY, 0, 5, Buffer.from([0, 0, 0, 0, 16]))),
  frequent("windowUpdates", windowUpdate(0, 1)),
  frequent("emptyFrames", frame(99, 0, 0)),
  {
    option: "continuations",
    roles: BOTH,
    low: { continuations: 1 },
    borne: [beginOfBlock, continuation],
    tooMuch: continuation,
    ends: flood("too many: CONTINUATION frames"),
  },
  {
    option: "headerTable",
    roles: BOTH,
    low: { headerTable: 100 },
    borne: [ACK],
    tooMuch: frame(FRAME.HEADERS, FLAG.END_HEADERS, 1, integer(0x20, 5, 101)),
    ends: {
      goAway: COMPRESSION_ERROR,
      code: "E_HTTP2_COMPRESSION",
      detail: "a header block asks for a table larger than was announced",
    },
  },
];

test("the table has every option but the one that needs a clock", () => {
  expect([...TABLE.map(({ option }) => option), "stalledStreams"].sort()).toEqual(
    Object.keys(HTTP2_LIMITS.http2).sort(),
  );
});

describe.each(BOTH)("a %s", (role) => {
  test.each(TABLE.filter(({ roles }) => roles.includes(role)))(
    "ends the connection with the reason when $option is set low",
    ({ low, borne, tooMuch, ends }) => {
      const strict = endpoint(role, low);
      for (const one of borne) expect(strict.push(one)).toBeUndefined();
      expect(strict.push(tooMuch)).toMatchObject({ code: ends.code, detail: ends.detail });
      expect(goAwayOf(strict)).toEqual({ code: ends.goAway, detail: ends.detail });
      const usual = endpoint(role, {});
      for (const one of borne) usual.push(one);
      usual.push(tooMuch);
      expect(goAwayOf(usual)?.code).not.toBe(ends.goAway);
    },
  );
});

describe("a table of another size", () => {
  const fields = Array.from({ length: 20 }, (_, at) => [`x-field-${at}`, "v".repeat(100)]).flat();

  test.each([0, 100, 1000, 4096, 65_536])(
    "of %i octets is announced, kept by the other side, and right",
    (headerTable) => {
      const http2 = { ...HTTP2_LIMITS.http2, headerTable };
      const client = new Http2Endpoint("client", { http2 });
      const server = new Http2Endpoint("server", { http2 });
      // begun before either has heard of the other
      const calls = [client.request("GET", "/", fields)];
      settle(client, server);
      for (let at = 0; at < 3; at++) {
        calls.push(client.request("GET", `/${at}`, fields));
        settle(client, server);
      }
      for (const { stream } of calls) {
        const seen = server.seen.get(stream.id);
        expect(seen?.request?.fields.raw.slice(-fields.length)).toEqual(fields);
        if (seen !== undefined) server.respond(seen, 200, fields);
        settle(client, server);
      }
      expect(calls.map(({ responses }) => responses.length)).toEqual([1, 1, 1, 1]);
    },
  );

  test("that is smaller must be taken over with the first block behind the acknowledgement (RFC 9113 section 4.3.1)", () => {
    const server = endpoint("server", { headerTable: 100 });
    // not yet acknowledged: what was allowed before still is
    expect(server.push(opened(1))).toBeUndefined();
    expect(server.push(ACK)).toBeUndefined();
    expect(server.push(opened(3))).toMatchObject({
      code: "E_HTTP2_COMPRESSION",
      detail: "a header block does not reduce the table to the size that was announced",
    });
  });

  test("that is larger may be used once it is acknowledged", () => {
    const larger = frame(
      FRAME.HEADERS,
      FLAG.END_HEADERS,
      1,
      Buffer.concat([integer(0x20, 5, 8192), literal(0x00, "a", "b")]),
    );
    expect(endpoint("server", { headerTable: 8192 }).push(larger)?.code).toBe("E_HTTP2_COMPRESSION");
    const server = endpoint("server", { headerTable: 8192 });
    server.push(ACK);
    expect(server.push(larger)).toBeUndefined();
  });
});
