import { clockMs } from "./monotonic.ts";
import { currentTurn } from "./transport.ts";

/** A connection's share of an event-loop turn, milliseconds: with more to do it goes on in a later one, behind all others. */
const SHARE_MS = 1;
/** What all that wait get of a turn together, however many they are. */
const WAITING_MS = 2;
/** What tidying up gets of a turn. */
const TIDYING_MS = 0.5;

/** Where time comes from; a test has its own. */
export interface TurnSource {
  nowMs(): number;
  /** Another number in each event-loop turn. */
  turn(): number;
  /** Runs it once events that are there already have been dealt with. */
  soon(run: () => void): void;
}

const eventLoop: TurnSource = { nowMs: clockMs, turn: currentTurn, soon: (run) => void setImmediate(run) };

/** Keeps one caller's work from holding up the others of this thread. The rules:
 *  1. A connection that carries many calls has SHARE_MS of an event-loop turn (`TurnShare`). It is not read, and begins none of the calls that it
 *     has asked for, until its next share.
 *  2. Who waits for a share gets it in the order of asking (round robin), behind the events of one more turn, and all of them together get
 *     WAITING_MS of a turn.
 *  3. What a call makes others do later (a socket that connects, in turns to come) is charged at once to the share under which it
 *     began (`owe`): it can't be told apart when it is due.
 *  4. What nobody waits for (closing a hundred sockets of calls that were given up) gets TIDYING_MS of a turn (`tidy`).
 *  A share is counted in wall-clock time and looked at between calls: the last one may exceed it. */
export class FairTurns {
  readonly source: TurnSource;
  #waiting: TurnShare[] = [];
  #untidy: (() => void)[] = [];
  #owedMs = 0;
  #scheduled = false;

  constructor(source: TurnSource = eventLoop) {
    this.source = source;
  }

  /** All that was ever charged, milliseconds. */
  get owedMs(): number {
    return this.#owedMs;
  }

  /** Charges work of later turns to the share that is in use now. */
  owe(ms: number): void {
    this.#owedMs += ms;
  }

  /** Time as shares count it. */
  get spentMs(): number {
    return this.source.nowMs() + this.#owedMs;
  }

  queue(share: TurnShare): void {
    this.#waiting.push(share);
    this.#schedule();
  }

  /** Has this done in one of the next turns, in order. */
  tidy(run: () => void): void {
    this.#untidy.push(run);
    this.#schedule();
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    // the end of this turn would be too soon: what has come for others is read in the next
    this.source.soon(() => this.source.soon(this.#run));
  }

  readonly #run = (): void => {
    const fromMs = this.spentMs;
    // who waits once more waits behind the others
    for (let left = this.#waiting.length; left > 0; left--) {
      this.#waiting.shift()?.grant();
      if (this.spentMs - fromMs >= WAITING_MS) break;
    }
    this.#tidyUp();
    this.#scheduled = this.#waiting.length > 0 || this.#untidy.length > 0;
    if (this.#scheduled) this.source.soon(this.#run);
  };

  #tidyUp(): void {
    const fromMs = this.source.nowMs();
    let done = 0;
    while (done < this.#untidy.length && (done === 0 || this.source.nowMs() - fromMs < TIDYING_MS)) {
      this.#untidy[done++]?.();
    }
    this.#untidy = this.#untidy.slice(done);
  }
}

/** One connection's share of turns. */
export class TurnShare {
  readonly #turns: FairTurns;
  readonly #goOn: () => void;
  /** Of the turn `#turn`. */
  #spentMs = 0;
  #turn = -1;
  #sinceMs = 0;
  #waits = false;

  /** `goOn`: a share is there again. */
  constructor(turns: FairTurns, goOn: () => void) {
    this.#turns = turns;
    this.#goOn = goOn;
  }

  /** It waits for its next share, and is to do nothing until then. */
  get waits(): boolean {
    return this.#waits;
  }

  /** Work begins that is to be counted. */
  begin(): void {
    const turn = this.#turns.source.turn();
    if (turn !== this.#turn) {
      this.#turn = turn;
      this.#spentMs = 0;
    }
    this.#sinceMs = this.#turns.spentMs;
  }

  /** Counts what was done since `begin` or since it was asked last. True: nothing is left. */
  isSpent(): boolean {
    const nowMs = this.#turns.spentMs;
    this.#spentMs += nowMs - this.#sinceMs;
    this.#sinceMs = nowMs;
    return this.#spentMs >= SHARE_MS;
  }

  wait(): void {
    if (this.#waits) return;
    this.#waits = true;
    this.#turns.queue(this);
  }

  /** For `FairTurns`. */
  grant(): void {
    this.#waits = false;
    this.#spentMs = 0;
    this.#goOn();
  }
}

/** Of this thread. */
export const fairTurns: FairTurns = new FairTurns();
