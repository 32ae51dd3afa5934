import type { BenchIdentities } from "../identities.ts";
import type { Child, Children } from "../processes.ts";
import type { Wire } from "../workloads.ts";

/** All on 127.0.0.1. */
export interface MeshPorts {
  readonly outbound: number;
  readonly inbound: number;
  readonly app: number;
}

/** Client → outbound ══ mTLS 1.3 ══ inbound → origin. What each hop of each peer must do:
 *
 *  - outbound: present web's certificate; accept only a server that proves to be orders;
 *  - inbound: ask for a client certificate of the CA; answer only web, and of HTTP only GET and POST; tell the app who
 *    calls in x-forwarded-client-cert;
 *  - both: keep connections alive on every side, one worker thread, a JSON access log in a file.
 *
 *  HTTP/1.1 apps: HTTP/1.1 on every hop ("chain"), or HTTP/2 between the two hops ("mux", and Countersign). HTTP/2 apps:
 *  HTTP/2 on every hop. */
export interface Mesh {
  /** A folder of the peer's own for configuration and logs. */
  readonly dir: string;
  readonly identities: BenchIdentities;
  readonly ports: MeshPorts;
  /** What the apps speak. A peer that said it cannot is never asked. */
  readonly wire: Wire;
}

export type HopName = "outbound" | "inbound";

export interface Hop {
  readonly child: Child;
  /** Files in this folder that start with this name hold the hop's access log, one line a call. */
  readonly accessLog: { readonly dir: string; readonly name: string };
}

export type Found =
  | {
      readonly kind: "found";
      readonly version: string;
      /** What it cannot carry, and why or how to get it. */
      readonly cannot?: Partial<Readonly<Record<Wire, string>>>;
    }
  | { readonly kind: "missing"; readonly hint: string };

export interface Peer {
  readonly name: string;
  /** Whether HTTP/2 runs between the hops of this wire. Checked before it is measured; undefined: either. */
  readonly isMultiplexed?: boolean;
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
