import type { CodeEntry } from "./code-entry.ts";

/** Of the egress proxy (`forward`). */
export const egressCodes = {
  E_EGRESS_TARGET: {
    meaning:
      "a request to the egress proxy names no destination that it can reach, or not in a form that a proxy is asked with",
    fix: "set the client's proxy (http_proxy, https_proxy, all_proxy, curl -x) instead of its URL; https:// goes by CONNECT",
  },
  E_EGRESS_PORT: {
    meaning:
      "a tunnel through the egress proxy was asked to a port that forward.ports does not list, or plaintext HTTP to a port of another protocol",
    fix: "use a listed port, or add it to forward.ports",
  },
  E_EGRESS_ADDRESS: {
    meaning:
      "a destination is, or its name stands for, this machine, a private or link-local network, or a cloud's metadata service",
    fix: "if the app shall reach it, add its CIDR to forward.addresses; else find out who made the app ask for it",
  },
  E_EGRESS_RESOLVE: {
    meaning: "the name of an egress destination has no address",
    fix: "check the name and this machine's DNS",
  },
  E_EGRESS_PROTOCOL: {
    meaning: "a tunnel to a destination outside the mesh carries neither TLS nor HTTP",
    fix: "speak TLS to it, or give it an outbound listener or a sidecar of its own",
  },
  E_EGRESS_OPAQUE: {
    meaning:
      "a tunnel into the mesh does not begin with an HTTP request, or not in time, and OUTBOUND rules that may apply to its destination look at requests (methods, paths, headers)",
    fix: "begin with HTTP at once, or have the rule leave this destination out (hosts, ports, principals); the detail names it",
  },
  E_EGRESS_SNI: {
    meaning: "the TLS ClientHello in a tunnel names no server, or another one than the tunnel was asked for",
    fix: "ask the proxy for the name that the TLS client uses (curl: --socks5-hostname instead of --socks5)",
  },
  E_EGRESS_HOST: {
    meaning: "an HTTP request in a tunnel has another Host than the tunnel was asked for",
    fix: "open a tunnel for each host",
  },
  E_EGRESS_SOCKS: {
    meaning: "a client speaks SOCKS that is not version 5, without authentication, with CONNECT",
    fix: "use SOCKS5 without user and password (curl: --socks5-hostname, all_proxy=socks5h://…)",
  },
} as const satisfies Record<`E_${string}`, CodeEntry>;
