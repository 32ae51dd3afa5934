import type { RuleId } from "../core/decision.ts";
import type { CountersignError } from "../core/errors.ts";

/** Why a call is refused by something that was asked before policy could decide, and how its caller is answered. */
export class Refusal {
  readonly error: CountersignError;
  /** 200 to 599. */
  readonly status: number;
  /** More fields of the answer: name, value, name, value … */
  readonly fields: readonly string[];
  /** In place of our own line; undefined: ours. */
  readonly body: Uint8Array | undefined;
  /** The CUSTOM rule that had a provider asked. */
  readonly rule: RuleId | undefined;

  constructor(error: CountersignError, status: number, fields: readonly string[], body?: Uint8Array, rule?: RuleId) {
    // an interim status would leave the caller waiting for the answer, which it takes from whatever comes next
    if (status < 200 || status > 599) throw new TypeError("a refusal has a final status");
    this.error = error;
    this.status = status;
    this.fields = fields;
    this.body = body;
    this.rule = rule;
  }
}
