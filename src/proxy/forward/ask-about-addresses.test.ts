import { describe, expect, it } from "vitest";
import type { AskDecision, Decision, RuleId } from "../../core/decision.ts";
import type { ErrorCode } from "../../core/error-codes.ts";
import { CountersignError } from "../../core/errors.ts";
import type { Asked } from "../ask-providers.ts";
import { Refusal } from "../refusal.ts";
import { askAboutAddresses, type CallAtAddress } from "./ask-about-addresses.ts";

const rule = "ns[a]-policy[b]-rule[0]" as RuleId;
const denied: Decision = {
  kind: "deny",
  code: "E_POLICY_DENIED_BY_RULE",
  rule,
  reason: "",
  nearest: undefined,
  policyVersion: "1",
};
const allowed = { kind: "allow", permit: {}, reason: "rule" } as Decision;
const decision: AskDecision = {
  kind: "ask",
  providers: [{ provider: "p", rule }],
  decision: allowed,
  policyVersion: "1",
};

type Says = "yes" | "but policy denies" | ErrorCode;

function answerOf(says: Says, call: string): Asked<string> | Refusal {
  const providers = new Set(["p"]);
  if (says === "yes") return { call, decision: allowed, providers };
  if (says === "but policy denies") return { call, decision: denied, providers };
  return new Refusal(new CountersignError(says, ""), 403, []);
}

async function run(...answers: readonly [Says, ...Says[]]): Promise<readonly [string, Says, number]> {
  const candidates = answers.map(
    (_, i): CallAtAddress<string> => ({ host: `10.0.0.${i}`, call: `call ${i}`, decision }),
  );
  const [first, ...others] = candidates;
  if (first === undefined) throw new TypeError("no candidate");
  const seen: string[] = [];
  const { host, asked } = await askAboutAddresses([first, ...others], ({ host: at, call }) => {
    seen.push(at);
    return Promise.resolve(answerOf(answers[candidates.findIndex((one) => one.host === at)] ?? "yes", call));
  });
  const says =
    asked instanceof Refusal ? asked.error.code : asked.decision.kind === "allow" ? "yes" : "but policy denies";
  return [host, says, seen.length];
}

describe("askAboutAddresses", () => {
  it.each<[string, readonly [Says, ...Says[]], readonly [string, Says, number]]>([
    ["takes the first that is allowed and asks no further", ["yes", "yes"], ["10.0.0.0", "yes", 1]],
    ["goes on behind one that is denied", ["E_EXT_AUTHZ_DENIED", "yes", "yes"], ["10.0.0.1", "yes", 2]],
    ["… or that policy denies as the provider left it", ["but policy denies", "yes"], ["10.0.0.1", "yes", 2]],
    ["stops at a provider that fails", ["E_EXT_AUTHZ_FAILED", "yes"], ["10.0.0.0", "E_EXT_AUTHZ_FAILED", 1]],
    ["… or is late", ["E_EXT_AUTHZ_DENIED", "E_EXT_AUTHZ_TIMEOUT", "yes"], ["10.0.0.1", "E_EXT_AUTHZ_TIMEOUT", 2]],
    [
      "says of none why the first was not",
      ["E_EXT_AUTHZ_DENIED", "but policy denies"],
      ["10.0.0.0", "E_EXT_AUTHZ_DENIED", 2],
    ],
  ])("%s", async (_, answers, expected) => {
    expect(await run(...answers)).toEqual(expected);
  });
});
