import type { CallOutcome } from "../../src/core/call-outcome.ts";
import { parseSpiffeId } from "../../src/core/spiffe-id.ts";
import { callOutcome, connectionContext } from "./call-outcome.ts";
import { serialiseOutcome } from "./serialise-record.ts";

export interface AuditedRow {
  /** Name of a service account of namespace shop; "": no identity. */
  readonly from?: string;
  readonly method?: string;
  readonly path?: string;
  readonly tcp?: true;
  readonly over?: Partial<CallOutcome>;
}

/** Lines of an audit file as a sidecar of orders would write them; ids are call-0, call-1, … */
export function auditLines(rows: readonly AuditedRow[]): string {
  return rows
    .map(({ from = "web", method = "GET", path = "/", tcp, over = {} }, i) => {
      const source =
        from === ""
          ? undefined
          : {
              spiffeId: parseSpiffeId(`spiffe://example.org/ns/shop/sa/${from}`),
              serial: "1",
              notAfterMs: 0,
              issuer: "",
            };
      const call: Partial<CallOutcome> =
        tcp === true
          ? { kind: "connection", protocol: "tcp", method: undefined, authority: undefined, path: undefined }
          : { method, path };
      const connection = connectionContext({ source });
      return serialiseOutcome(callOutcome({ id: `call-${i}`, connection, ...call, ...over }), i);
    })
    .join("");
}
