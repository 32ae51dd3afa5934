import type { ErrorCode } from "../../core/error-codes.ts";
import type { OutputBuffer } from "../http1/output-buffer.ts";
import type { FloodGuard, FloodKind } from "./flood-guard.ts";
import { ENHANCE_YOUR_CALM, writeGoaway } from "./frames.ts";
import type { StreamNumbers } from "./stream-numbers.ts";

/** Why a connection ends: the code of the catalogue, and what was broken. */
export interface Http2Violation {
  readonly code: ErrorCode;
  readonly detail: string;
}

/** Whether the other side keeps to the rules, and does nothing too often. The first break ends the connection: a GOAWAY is written, and nothing
 *  more is read. */
export class PeerConduct {
  readonly #out: OutputBuffer;
  readonly #guard: FloodGuard;
  readonly #numbers: StreamNumbers;
  #violation: Http2Violation | undefined;
  /** When what is being read came; monotonic. */
  nowMs = 0;

  constructor(out: OutputBuffer, guard: FloodGuard, numbers: StreamNumbers) {
    this.#out = out;
    this.#guard = guard;
    this.#numbers = numbers;
  }

  /** Why the connection is over, if it is. */
  get violation(): Http2Violation | undefined {
    return this.#violation;
  }

  /** The connection is not over. */
  get goesOn(): boolean {
    return this.#violation === undefined;
  }

  /** The connection is over by our decision or the other side's fault. Always false, for the frame reader. */
  fail(errorCode: number, detail: string, code: ErrorCode = "E_HTTP2_PROTOCOL"): false {
    if (this.#violation !== undefined) return false;
    this.#violation = { code, detail };
    writeGoaway(this.#out, this.#numbers.lastPeer, errorCode, detail);
    return false;
  }

  /** Notes one more of a kind. True if that is too many: the connection is over then. */
  floods(kind: FloodKind): boolean {
    if (!this.#guard.passes(kind, this.nowMs)) return false;
    this.fail(ENHANCE_YOUR_CALM, `too many: ${kind}`, "E_HTTP2_FLOOD");
    return true;
  }
}
