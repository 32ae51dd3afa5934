import type { CodeEntry } from "./code-entry.ts";

export const proxyCodes = {
  E_UPSTREAM_CONNECT: {
    meaning: "the upstream could not be reached",
    fix: "check that it runs and listens at the configured address",
  },
  E_UPSTREAM_CLOSED: {
    meaning: "the upstream closed the connection before its response was complete",
    fix: "look at the upstream's own log for the same time; it crashed, timed out or refused us",
  },
  E_UPSTREAM_TIMEOUT: {
    meaning: "the upstream did not begin its response in time",
    fix: "find out why it is slow, or raise timeouts.firstByte",
  },
  E_UPSTREAM_PROTOCOL: {
    meaning: "the upstream answered with something that is not a valid response to the request",
    fix: "correct the upstream: the record's detail says which rule it broke",
  },
  E_UPSTREAM_HANDSHAKE: {
    meaning: "the TLS handshake with the upstream failed",
    fix: "check that a sidecar with mutual TLS listens there and that it trusts our trust domain",
  },
  E_UPSTREAM_LIMIT: {
    meaning:
      "the upstream already has as many connections, waiting calls or open calls as the listener's upstream limits allow",
    fix: "find out why calls pile up, or raise the limit that the record's detail names",
  },
  E_UPSTREAM_RESOLVE: {
    meaning: "a name in to or app has no address, and never had one since the start",
    fix: "correct the name, or the machine's resolver",
  },
  E_OVERLOADED: {
    meaning:
      "the sidecar uses more memory than limits.memory allows, or than the bodies that providers are to see may take: it takes no new call for now",
    fix: "find out what holds the memory, raise limits.memory or lower maxRequestBytes, or run more of them",
  },
  E_PLAINTEXT_REFUSED: {
    meaning: "a caller sent plaintext to a listener whose mtls is strict",
    fix: "call through a sidecar, or set mtls: permissive on the listener while you migrate",
  },
  E_PROXY_HEADER: {
    meaning:
      "a connection to a listener with proxyProtocol has no valid PROXY header from a trusted proxy, or one from anybody else",
    fix: "let the proxy send PROXY protocol version 1 or 2, and list its address in trustedProxies; nobody else may send it",
  },
  E_TLS_HANDSHAKE: {
    meaning: "a caller's TLS handshake failed",
    fix: "the record's detail has TLS's own reason; the caller needs TLS 1.3 and an X.509-SVID",
  },
  E_HANDSHAKE_TIMEOUT: {
    meaning: "a caller did not finish its TLS handshake in time",
    fix: "find out why the caller is slow, or raise timeouts.handshake",
  },
  E_CLASSIFY: {
    meaning: "a connection's first bytes are not the protocol that the listener speaks",
    fix: "set the listener's protocol to what the app speaks",
  },
  E_CLASSIFY_TIMEOUT: {
    meaning: "a connection sent too little to tell its protocol in time, and policies with HTTP fields apply",
    fix: "set the listener's protocol instead of auto",
  },
  E_HTTP2_UNSUPPORTED: {
    meaning: "a caller speaks HTTP/2 on a listener whose protocol is http1",
    fix: "use HTTP/1.1, or set the listener's protocol to auto, http or http2",
  },
  E_HTTP2_PREFACE: {
    meaning: "a connection did not begin as HTTP/2 does: with its preface and SETTINGS",
    fix: "speak HTTP/2, or set the listener's protocol to what is spoken",
  },
  E_HTTP2_PROTOCOL: {
    meaning: "a caller broke the rules of HTTP/2 (RFC 9113), so its connection was ended",
    fix: "the record's detail says which rule; correct or update the caller's HTTP/2 library",
  },
  E_HTTP2_COMPRESSION: {
    meaning: "a caller's header compression (HPACK, RFC 7541) could not be decoded, so its connection was ended",
    fix: "correct or update the caller's HTTP/2 library",
  },
  E_HTTP2_FLOOD: {
    meaning: "a caller sent more frames of a kind, or larger header blocks, than any well-behaved one does",
    fix: "the record's detail says of which kind; find out whether the caller is broken or an attacker",
  },
  E_HTTP2_STREAM_LIMIT: {
    meaning: "a caller opened more streams at once than limits.streams allows; the request was refused unread",
    fix: "nothing if it happens rarely, since the caller may send it again; else raise limits.streams, or let the caller open more connections",
  },
  E_TUNNEL_REFUSED: {
    meaning: "a caller asked for a tunnel to an inbound that it may not reach from the listener that it called",
    fix: "name the inbound in the called listener's tunnels, or call the inbound itself",
  },
  E_UPSTREAM_NOT_HTTP2: {
    meaning: "an upstream that was to be reached by HTTP/2 does not speak it",
    fix: "let the app speak HTTP/2 without TLS (h2c prior knowledge), or call it by HTTP/1.1; gRPC needs HTTP/2",
  },
  E_UPSTREAM_REFUSED_STREAM: {
    meaning: "the upstream took no notice of the request: it refused the stream, or was closing the connection",
    fix: "nothing if it happens rarely; else find out why the upstream takes so few streams",
  },
  E_HEAD_UNWRITABLE: {
    meaning:
      "a request or response could not be passed on: a field of it holds a control character, or has a name that no field has",
    fix: "look at what adds fields to the call: claims of tokens, an external authorizer; report it if nothing does",
  },
  E_UPSTREAM_RESET: {
    meaning: "the upstream reset the call's stream before its response was complete",
    fix: "look at the upstream's own log for the same time",
  },
  E_CONNECTION_LIMIT: {
    meaning: "the listener already has as many connections as limits.connections allows",
    fix: "raise limits.connections, or find out who opens so many",
  },
  E_CALLER_GONE: {
    meaning: "the caller's connection ended before the response was complete",
    fix: "nothing to do here: look at the caller",
  },
  E_CALLER_UID: {
    meaning: "the local user of the calling process is not in allow.uids",
    fix: "run the app as a listed user, or list its uid",
  },
  E_BROWSER_REFUSED: {
    meaning: "a browser page used a listener that stands for the app",
    fix: "list the page's origin in origins, or set browser: allow",
  },
  E_HTTP_UPGRADE: {
    meaning: "an extended CONNECT request (RFC 8441) asks for a protocol that the listener passes on to nobody",
    fix: "ask for websocket; an inbound takes others that its upgrades list",
  },
  E_HTTP_CONNECT: {
    meaning: "CONNECT was sent to a listener that is no egress proxy",
    fix: "send an ordinary request",
  },
  E_LOOP: {
    meaning: "a call passed too many sidecars: it goes round in a circle",
    fix: "correct the app or to address that points back at a sidecar",
  },
  E_REQUEST_TIMEOUT: {
    meaning:
      "a caller did not send its whole request head, or what an authorization provider is to see of the body, in time",
    fix: "find out why the caller is slow, or raise timeouts.head",
  },
  E_IDLE_TIMEOUT: {
    meaning: "a connection carried nothing for longer than its idle timeout",
    fix: "send keep-alives, or raise timeouts.idle or timeouts.tunnelIdle",
  },
  E_PEER_EXPIRED_OPEN: {
    meaning: "the peer's SVID ran out while the connection was open",
    fix: "nothing if the peer reconnects with a newer SVID; else look at its rotation",
  },
  E_PEER_NO_LONGER_TRUSTED: {
    meaning: "a new trust bundle or revocation list no longer covers an open connection's peer",
    fix: "nothing if that was intended; else correct the bundle",
  },
  E_DRAIN_CUT: {
    meaning: "the drain deadline came before the call had ended",
    fix: "raise drain.timeout, or make the call shorter",
  },
  E_LISTEN: {
    meaning: "a listener could not be opened",
    fix: "free the address, or choose another; ports below 1024 need a capability",
  },
} as const satisfies Record<`E_${string}`, CodeEntry>;
