import { describe, expect, it } from "vitest";
import { Deadlines } from "./deadlines.ts";
import { type Sniffed, sniffFirstBytes } from "./first-bytes.ts";
import { monotonicMs } from "./monotonic.ts";
import { NOBODY, type TransportOwner } from "./transport.ts";

const TLS = Buffer.from([0x16, 3, 1]);
const PREFACE = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const TIMEOUTS = { classify: 100, head: 1000 };

/** A connection whose first bytes are told; `told` is what was said of them, as text. */
function connection(onlyHttp: boolean, initial?: string): Connection {
  const deadlines = new Deadlines();
  const told: string[] = [];
  let reads: "begins" | "goes on" | "rests" | "ended" = "begins";
  const transport = {
    owner: NOBODY,
    get closed() {
      return reads === "ended";
    },
    pause() {
      reads = "rests";
    },
    resume() {
      reads = "goes on";
    },
    destroy() {
      reads = "ended";
    },
  };
  const early = initial === undefined ? undefined : Buffer.from(initial, "latin1");
  sniffFirstBytes(transport, early, { deadlines, timeouts: TIMEOUTS }, onlyHttp, ({ kind, bytes }: Sniffed) =>
    told.push(`${kind} ${JSON.stringify(Buffer.from(bytes).toString("latin1"))}`),
  );
  return { deadlines, told, reads: () => reads, owner: () => transport.owner };
}

interface Connection {
  readonly deadlines: Deadlines;
  readonly told: string[];
  readonly reads: () => string;
  readonly owner: () => TransportOwner;
}

describe("the first bytes of a connection", () => {
  const cases: readonly [what: string, bytes: string, any: string, onlyHttp: string][] = [
    ["a request", "GET / HTTP/1.1\r\n", "http1", "http1"],
    ["HTTP/2's preface", PREFACE, "http2", "http2"],
    ["a ClientHello", TLS.toString("latin1"), "opaque", "http1"],
    ["another protocol", "SSH-2.0-x\r\n", "opaque", "http1"],
  ];
  for (const [what, bytes, any, onlyHttp] of cases) {
    const said = (kind: string): string[] => [`${kind} ${JSON.stringify(bytes)}`];
    it(`are ${what}, byte by byte: told once, with all that was read, and nothing more is read`, () => {
      const one = connection(false);
      let sent = 0;
      while (one.told.length === 0 && sent < bytes.length) one.owner().onBytes(Buffer.from([bytes.charCodeAt(sent++)]));
      expect(one.told).toEqual([`${any} ${JSON.stringify(bytes.slice(0, sent))}`]);
      expect(one.reads()).toBe("rests");
      expect(one.deadlines.size).toBe(0);
    });
    it(`are ${what} that was read already: told at once`, () => {
      expect(connection(false, bytes).told).toEqual(said(any));
    });
    it(`are ${what} where only HTTP is served: ${onlyHttp}`, () => {
      expect(connection(true, bytes).told).toEqual(said(onlyHttp));
    });
  }

  const late: readonly [onlyHttp: boolean, afterMs: number, told: string[]][] = [
    [false, 50, []],
    [false, 200, ['silent "GE"']],
    [true, 200, []],
    [true, 1100, ['http1 "GE"']],
  ];
  for (const [onlyHttp, afterMs, told] of late) {
    it(`too few to tell after ${afterMs} ms, ${onlyHttp ? "only HTTP" : "anything"} served: ${told[0] ?? "waits"}`, () => {
      const one = connection(onlyHttp);
      one.owner().onBytes(Buffer.from("GE"));
      one.deadlines.sweep(monotonicMs() + afterMs);
      expect(one.told).toEqual(told);
      if (told.length === 0) one.owner().onGone(undefined); // its timer ends with it
      expect(one.deadlines.size).toBe(0);
    });
  }

  it("that end too early to tell are of no protocol that we know", () => {
    const one = connection(false);
    one.owner().onBytes(Buffer.from("GE"));
    one.owner().onFin();
    one.owner().onGone(undefined);
    expect(one.told).toEqual(['opaque "GE"']);
    expect(one.reads()).toBe("rests");
  });

  it("that never come end the connection, and nobody is told", () => {
    const closed = connection(false);
    closed.owner().onFin();
    const lost = connection(false);
    lost.owner().onBytes(Buffer.from("GE"));
    lost.owner().onGone(new Error("reset"));
    for (const one of [closed, lost]) {
      expect(one.told).toEqual([]);
      expect(one.reads()).toBe("ended");
      expect(one.deadlines.size).toBe(0);
    }
  });
});
