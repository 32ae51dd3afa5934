import type { BenchIdentities } from "../identities.ts";
import type { Child, Children } from "../processes.ts";

/** All on 127.0.0.1. */
export interface MeshPorts {
  readonly outboundHttp: number;
  readonly outboundTcp: number;
  readonly inboundHttp: number;
  readonly inboundTcp: number;
  readonly appHttp: number;
  readonly appTcp: number;
}

/** Client → outbound ══ mTLS 1.3 ══ inbound → origin. What each hop of each peer must do:
 *
 *  - outbound: present web's certificate; accept only a server that proves to be orders;
 *  - inbound: ask for a client certificate of the CA; answer only web, and only GET and POST; tell the app who calls in
 *    x-forwarded-client-cert;
 *  - both: HTTP/1.1 and keep-alive on every side, one worker thread, a JSON access log in a file. */
export interface Mesh {
  /** A folder of the peer's own for configuration and logs. */
  readonly dir: string;
  readonly identities: BenchIdentities;
  readonly ports: MeshPorts;
  /** Whether the TCP listeners are wanted; a peer that said `tcp: false` is never asked. */
  readonly tcp: boolean;
}

export type HopName = "outbound" | "inbound";

export interface Hop {
  readonly child: Child;
  /** Files in this folder that start with this name hold the hop's access log, one line a call. */
  readonly accessLog: { readonly dir: string; readonly name: string };
}

export type Found =
  | { readonly kind: "found"; readonly version: string; readonly tcp: boolean; readonly tcpHint?: string }
  | { readonly kind: "missing"; readonly hint: string };

export interface Peer {
  readonly name: string;
  /** Looks for the program; `hint` says how to install it. */
  find(children: Children): Promise<Found>;
  /** Starts one hop and returns when it accepts connections. */
  start(hop: HopName, mesh: Mesh, children: Children): Promise<Hop>;
}

/** First line of what `command` prints about its version, or undefined when it cannot be run. */
export async function versionOf(
  children: Children,
  command: string,
  args: readonly string[],
): Promise<string | undefined> {
  try {
    const child = await children.start(command, command, args, { stdout: "keep" });
    const timer = setTimeout(child.kill, 10_000);
    const { code } = await child.ended;
    clearTimeout(timer);
    const text = `${child.output()}\n${child.stderrTail()}`;
    return code === 0 ? text.split("\n").find((line) => line.trim() !== "") : undefined;
  } catch {
    return undefined;
  }
}
