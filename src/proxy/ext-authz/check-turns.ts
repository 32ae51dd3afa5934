import type { Clock } from "../../core/clock.ts";
import type { ErrorCode } from "../../core/error-codes.ts";
import { CountersignError } from "../../core/errors.ts";
import type { AuthorizationProvider, CheckAnswer, CheckQuestion } from "./provider.ts";
import { type Place, WaitingLine } from "./waiting-line.ts";

/** Checks of new calls under way; beyond it calls are denied at once instead of piling up. */
const MAX_NEW = 1024;
/** Open calls that wait for their turn, at about a kilobyte each. */
const MAX_WAITING = 32_768;
const MIN_WAIT_MS = 1000;
/** A change of policies that lets go of a check begins the next one at once. What comes later has nothing to do with it. */
const SAME_CHANGE_MS = 1000;

/** An open call about which nobody has answered yet. */
interface Unanswered {
  /** When it was first to be asked about. */
  readonly sinceMs: number;
  /** That wait or are under way; more than one only while a newer one replaces it. */
  checks: number;
  leftMs: number;
}

interface Waiting {
  readonly call: object;
  readonly question: CheckQuestion;
  readonly signal: AbortSignal;
  /** When it ends unless it is asked about. */
  readonly untilMs: number;
  readonly answer: (answer: CheckAnswer) => void;
}

/** A provider that is asked about new calls at once, up to 1024, and about open ones in turn, `openAtOnce` at a time: a change of policies has all of
 *  them asked about in one moment. An open call has its turn within the provider's timeout, at least 1 s, or its check has failed; that
 *  time counts from when it was first to be asked about and had no answer, whatever made it be asked about anew since, and who has waited so goes
 *  first. Up to 32 768 wait. A check of an open call that has begun runs out, in its turn, when nobody waits for it any more: policies may change
 *  often, and a provider's server ends a connection on which many requests are taken back, with all the checks that are under way there. */
export function inTurns(provider: AuthorizationProvider, timeoutMs: number, clock: Clock): AuthorizationProvider {
  const maxWaitMs = Math.max(timeoutMs, MIN_WAIT_MS);
  const unanswered = new WeakMap<object, Unanswered>();
  /** Those that were to be asked about before, without an answer. */
  const again = new WaitingLine<Waiting>();
  const first = new WaitingLine<Waiting>();
  let fresh = 0;
  let asking = 0;
  let wakesMs = Number.POSITIVE_INFINITY;
  let cancelWake = (): void => undefined;

  async function askNew(question: CheckQuestion, signal: AbortSignal): Promise<CheckAnswer> {
    if (fresh >= MAX_NEW) return failed("E_EXT_AUTHZ_FAILED", `${MAX_NEW} checks are under way already`);
    fresh++;
    try {
      return await provider.check(question, signal);
    } finally {
      fresh--;
    }
  }

  async function askOpen({ call, question, signal, answer }: Waiting): Promise<void> {
    asking++;
    const given = await provider.check(question, new AbortController().signal);
    asking--;
    if (!signal.aborted) {
      unanswered.delete(call);
      answer(given);
    }
    askNext();
  }

  function askNext(): void {
    while (asking < provider.openAtOnce) {
      const one = again.takeFirst() ?? first.takeFirst();
      if (one === undefined) return;
      void askOpen(one);
    }
  }

  async function wait(call: object, question: CheckQuestion, signal: AbortSignal): Promise<CheckAnswer> {
    if (signal.aborted) return abandoned();
    const nowMs = clock.monotonicMs();
    const known = unanswered.get(call);
    const isAgain = known !== undefined && (known.checks > 0 || nowMs - known.leftMs <= SAME_CHANGE_MS);
    const entry = isAgain ? known : { sinceMs: nowMs, checks: 0, leftMs: 0 };
    const untilMs = entry.sinceMs + maxWaitMs;
    if (untilMs <= nowMs) return late(maxWaitMs);
    const hasTurn = asking < provider.openAtOnce;
    entry.checks++;
    unanswered.set(call, entry);
    if (!hasTurn && again.size + first.size >= MAX_WAITING) {
      leave(call);
      return failed("E_EXT_AUTHZ_FAILED", `${MAX_WAITING} open calls wait to be asked about already`);
    }
    return new Promise((resolve) => {
      const line = isAgain ? again : first;
      let place: Place<Waiting> | undefined;
      const onAbort = (): void => {
        if (place !== undefined) line.leave(place);
        leave(call);
        resolve(abandoned());
      };
      const answer: Waiting["answer"] = (given) => {
        signal.removeEventListener("abort", onAbort);
        resolve(given);
      };
      const waiting: Waiting = { call, question, signal, untilMs, answer };
      signal.addEventListener("abort", onAbort, { once: true });
      if (hasTurn) void askOpen(waiting);
      else {
        place = line.add(waiting);
        wakeAt(untilMs);
      }
    });
  }

  /** One check of it is over without an answer. */
  function leave(call: object): void {
    const entry = unanswered.get(call);
    if (entry === undefined) return;
    entry.checks--;
    entry.leftMs = clock.monotonicMs();
  }

  function wakeAt(untilMs: number): void {
    if (untilMs >= wakesMs) return;
    cancelWake();
    wakesMs = untilMs;
    cancelWake = clock.after(untilMs - clock.monotonicMs(), onWake);
  }

  function onWake(): void {
    wakesMs = Number.POSITIVE_INFINITY;
    const nowMs = clock.monotonicMs();
    let nextMs = wakesMs;
    for (const line of [again, first]) {
      for (const place of line) {
        const { untilMs, answer } = place.value;
        if (untilMs > nowMs) nextMs = Math.min(nextMs, untilMs);
        else {
          line.leave(place);
          answer(late(maxWaitMs));
        }
      }
    }
    if (nextMs < wakesMs) wakeAt(nextMs);
  }

  return {
    ...provider,
    check(question, signal) {
      const { openCall } = question;
      return openCall === undefined ? askNew(question, signal) : wait(openCall, question, signal);
    },
    close() {
      cancelWake();
      for (const line of [again, first]) {
        for (const place of line) {
          line.leave(place);
          place.value.answer(failed("E_EXT_AUTHZ_FAILED", "the provider is not configured any more"));
        }
      }
      provider.close();
    },
  };
}

function late(maxWaitMs: number): CheckAnswer {
  return failed("E_EXT_AUTHZ_TIMEOUT", `no answer, or no turn to be asked about, within ${maxWaitMs} ms`);
}

function abandoned(): CheckAnswer {
  return failed("E_EXT_AUTHZ_FAILED", "nobody waits for the answer any more");
}

function failed(code: ErrorCode, message: string): CheckAnswer {
  return { kind: "failed", error: new CountersignError(code, message) };
}
