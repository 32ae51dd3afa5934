import type { Socket } from "node:net";
import { CountersignError } from "../../core/errors.ts";
import type { Runtime } from "../runtime.ts";
import type { CheckedAddresses } from "../upstream/checked-lookup.ts";
import { addressText, dial } from "../upstream/dial.ts";
import { ReachRace } from "../upstream/reach-race.ts";
import type { Destination } from "./destination.ts";
import type { AddressMember, DestinationLoads } from "./destination-loads.ts";

/** `address` as records show it. */
export type DialedTunnel =
  | { readonly address: string; readonly host: string; readonly socket: Socket }
  | { readonly address: string; readonly error: CountersignError };

/** Connects to the first address of a destination outside the mesh that can be reached, in their order, the next beside one that takes long
 *  (RFC 8305). The destination's loads hear how they fared. `done` is called once, and returns false if nobody wants the connection. */
export function dialTunnel(
  { timeouts, deadlines, verifyPeer }: Runtime,
  loads: DestinationLoads,
  destination: Destination,
  addresses: CheckedAddresses,
  done: (result: DialedTunnel) => boolean,
): void {
  const members = addresses.map((host) => ({ host, load: loads.of(destination, host) }));
  const plan = {
    source: undefined,
    connectTimeoutMs: timeouts.connect,
    handshakeTimeoutMs: timeouts.handshake,
    deadlines,
    verifyPeer,
    identity: undefined,
  };
  let lastTried = members[0]?.load.address ?? "";
  const race = new ReachRace<AddressMember, { readonly member: AddressMember; readonly socket: Socket }>({
    deadlines,
    next: (tried) => members.find((member) => !tried.includes(member)),
    reach: (member, reached) =>
      dial({ ...plan, address: { kind: "tcp", host: member.host, port: destination.port } }, (result) => {
        if (result.kind === "failed") {
          lastTried = member.load.address;
          member.load.failed();
          reached(result.error);
          return;
        }
        member.load.succeeded();
        const { socket } = result.dialed;
        if (!reached({ member, socket })) socket.destroy();
      }),
    done: (result) => {
      if (result instanceof CountersignError) return done({ address: lastTried, error: result });
      const { member, socket } = result;
      return done({ address: member.load.address, host: member.host, socket });
    },
  });
  race.start(
    new CountersignError("E_EGRESS_RESOLVE", `${addressText({ kind: "tcp", ...destination })} has no address`),
  );
}
