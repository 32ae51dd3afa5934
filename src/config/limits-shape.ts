import type { Http2LimitsConfig, LimitsConfig, RateLimitConfig, UpstreamConfig } from "./sidecar-config.ts";
import { object, optional, withDefault } from "./yaml-collections.ts";
import { duration, integer, size } from "./yaml-scalars.ts";
import type { Shape } from "./yaml-shape.ts";

/** Neither is ever none: a peer that may do something without end is what these limits are against. */
function rate(burst: number, perSecond: number): Shape<RateLimitConfig> {
  const number = integer({ min: 1, max: 1_000_000 });
  return object({
    burst: withDefault(number, burst, "So many at once."),
    perSecond: withDefault(number, perSecond, "And so many more a second."),
  });
}

/** The defaults are what no well-behaved peer comes near. */
const http2: Shape<Http2LimitsConfig> = object({
  resets: withDefault(
    rate(200, 100),
    {},
    "Streams that the peer opens and resets; one that ends in order makes up for one.",
  ),
  provokedResets: withDefault(
    rate(100, 20),
    {},
    "Streams that the peer's faults make us reset, or that are above limits.streams.",
  ),
  pings: withDefault(rate(100, 10), {}, "PING. Each frame of a message, in either direction, pays for four."),
  settings: withDefault(rate(30, 2), {}, "SETTINGS."),
  priorities: withDefault(rate(300, 50), {}, "PRIORITY."),
  windowUpdates: withDefault(
    rate(1000, 200),
    {},
    "WINDOW_UPDATE. Each frame of a message, in either direction, pays for four.",
  ),
  emptyFrames: withDefault(rate(50, 5), {}, "Frames that carry nothing, and those of unknown types."),
  continuations: withDefault(integer({ min: 1, max: 10_000 }), 32, "CONTINUATION frames of one header block."),
  headerTable: withDefault(
    size({ min: 0, max: 64 * 1024 }),
    "4KiB",
    "HPACK's table of a connection, which the peer fills (SETTINGS_HEADER_TABLE_SIZE).",
  ),
  stalledStreams: withDefault(
    object({
      streams: withDefault(
        integer({ min: 1, max: 10_000 }),
        50,
        "So many of a caller's calls that wait for its window.",
      ),
      for: withDefault(duration({ min: 1000 }), "60s", "So long, while it takes nothing at all."),
    }),
    {},
    "Calls whose answers a caller does not take.",
  ),
});

/** What a peer can take of us, at most. */
export const limits: Shape<LimitsConfig> = object({
  connections: withDefault(integer({ min: 1, max: 1_000_000 }), 4096, "Connections that a listener holds at once."),
  headBytes: withDefault(size({ min: 1024, max: 2 ** 20 }), "60KiB", "Size of all header fields of a message."),
  headFields: withDefault(integer({ min: 1, max: 10_000 }), 100, "Number of header fields of a message."),
  requestLine: withDefault(size({ min: 256, max: 2 ** 20 }), "16KiB", "Size of the request line."),
  streams: withDefault(integer({ min: 1, max: 10_000 }), 100, "Streams that one HTTP/2 connection may have open."),
  streamBuffer: withDefault(size({ min: 1024, max: 2 ** 24 }), "64KiB", "What is held of a stream whose reader rests."),
  memory: withDefault(
    size({ min: 0, max: 2 ** 50 }),
    "0B",
    "Resident memory of the process above which new calls are turned away. 0B: no limit.",
  ),
  http2: withDefault(http2, {}, "What a peer may do too often on an HTTP/2 connection."),
});

/** A limit on what a peer may take its time for: it cannot be none. */
const limited = duration({ min: 1 });
const unlimited = duration();
/** In milliseconds; 0 is "none". */
export const timeouts = object({
  handshake: withDefault(limited, "5s", "TLS handshake."),
  classify: withDefault(limited, "1s", "Until the first bytes tell the protocol."),
  connect: withDefault(limited, "2s", "Until a server or the app accepts a connection."),
  head: withDefault(limited, "10s", "Until the whole head of a request is there."),
  firstByte: withDefault(unlimited, "60s", "From a request's last byte to its response's first. 0s: none."),
  idle: withDefault(unlimited, "5m", "HTTP connection without a call. 0s: none."),
  tunnelIdle: withDefault(unlimited, "1h", "TCP connection or tunnel without a byte. 0s: none."),
  connectionAge: withDefault(unlimited, "0s", "How old a connection may become. 0s: any age."),
});

const calls = integer({ min: 1, max: 1_000_000 });
/** What a listener's upstream may take of us, and we of it. */
export const upstream: Shape<UpstreamConfig> = object({
  maxConnections: optional(calls, "Connections to it, all addresses together. Default: limits.connections."),
  maxPending: withDefault(calls, 4096, "Calls that may wait for a connection to it."),
  maxRequests: withDefault(calls, 16_384, "Calls, tunnels and TCP connections to it that may be open."),
  connectTimeout: optional(limited, "Until an address accepts a connection. Default: timeouts.connect."),
  idleTimeout: optional(limited, "Of a connection without a call. Default: nine tenths of timeouts.idle."),
  requestTimeout: withDefault(unlimited, "0s", "A whole call. Not for upgrades. 0s: none."),
  streamTimeout: withDefault(unlimited, "0s", "An open call without a byte either way. Not for upgrades. 0s: none."),
});
