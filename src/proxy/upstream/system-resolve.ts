import { lookup } from "node:dns";
import { CountersignError } from "../../core/errors.ts";
import { type Deadlines, deadlineAfter, type HasDeadline } from "../deadlines.ts";
import { reasonOf } from "./dial.ts";

/** Addresses of a name, as text, never none: what is to be tried first comes first. `done` is called once, later, with a
 *  CountersignError E_EGRESS_RESOLVE where there are none. */
export type ResolveName = (name: string, done: (result: readonly string[] | CountersignError) => void) => void;

/** getaddrinfo runs in libuv's few threads, which file I/O needs too: the audit log must not wait for somebody's DNS. */
const AT_ONCE = 2;
/** Names that may wait for a thread. */
const MOST_WAITING = 128;

interface Waiting {
  readonly name: string;
  readonly settle: (result: readonly string[] | CountersignError) => void;
  readonly isOver: () => boolean;
}

/** Asks the machine's resolver: /etc/hosts, its DNS, whatever it is set up for. Few at once, the others wait in a bounded queue.
 *  `timeoutMs` is asked at each name. */
export function createSystemResolve(deadlines: Deadlines, timeoutMs: () => number): ResolveName {
  const waiting: Waiting[] = [];
  let running = 0;
  const runNext = (): void => {
    while (running < AT_ONCE) {
      const next = waiting.shift();
      if (next === undefined) return;
      if (next.isOver()) continue;
      running++;
      lookup(next.name, { all: true, order: "verbatim" }, (error, found) => {
        running--;
        if (error !== null) next.settle(failed(next.name, reasonOf(error)));
        else if (found.length === 0) next.settle(failed(next.name, "no address"));
        else next.settle(found.map(({ address }) => address));
        runNext();
      });
    }
  };
  return (name, done) => {
    if (waiting.length >= MOST_WAITING) {
      done(failed(name, "too many names are being resolved"));
      return;
    }
    let over = false;
    const settle: Waiting["settle"] = (result) => {
      if (over) return;
      over = true;
      deadlines.delete(guard);
      done(result);
    };
    const timeout = timeoutMs();
    const guard: HasDeadline = {
      deadlineMs: deadlineAfter(timeout),
      onDeadline: () => settle(failed(name, `no answer within ${timeout} ms`)),
    };
    deadlines.add(guard);
    waiting.push({ name, settle, isOver: () => over });
    runNext();
  };
}

function failed(name: string, why: string): CountersignError {
  return new CountersignError("E_EGRESS_RESOLVE", `${name} has no address: ${why}`);
}
