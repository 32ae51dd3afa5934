import { sign } from "node:crypto";
import type { Signer } from "./certificate-der.ts";
import { bits, integer, octets, oid, sequence, time, tlv } from "./der-writer.ts";
import { algorithmOf } from "./test-keys.ts";

const HOUR = 3_600_000;

export interface CrlContent {
  readonly serials: readonly (bigint | string)[];
  readonly thisUpdate?: number;
  readonly nextUpdate?: number;
  readonly trailing?: Uint8Array;
}
export function crlDer(options: CrlContent, nowMs: number, issuerName: Uint8Array, signer: Signer): Buffer {
  const algorithm = algorithmOf(signer.keyType, undefined);
  const thisUpdate = options.thisUpdate ?? nowMs - 60_000;
  const entries = options.serials.map((serial) =>
    sequence(integer(typeof serial === "string" ? BigInt(`0x${serial}`) : serial), time(thisUpdate)),
  );
  const tbs = sequence(
    integer(1),
    algorithm.identifier,
    issuerName,
    time(thisUpdate),
    time(options.nextUpdate ?? nowMs + 24 * HOUR),
    ...(entries.length === 0 ? [] : [sequence(...entries)]),
    tlv(0xa0, sequence(sequence(oid("2.5.29.20"), octets(integer(1))))),
  );
  const der = sequence(tbs, algorithm.identifier, bits(sign(algorithm.hash, tbs, signer.key)));
  return options.trailing ? Buffer.concat([der, options.trailing]) : der;
}
