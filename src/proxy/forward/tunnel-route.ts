import type { CallFacts } from "../../core/call-facts.ts";
import type { CallOutcome } from "../../core/call-outcome.ts";
import { CountersignError } from "../../core/errors.ts";
import { monotonicMs } from "../monotonic.ts";
import { NOBODY, type Transport } from "../transport.ts";
import type { CheckedAddresses } from "../upstream/checked-lookup.ts";
import { reasonOf } from "../upstream/dial.ts";
import { askAboutAddresses } from "./ask-about-addresses.ts";
import type { TunnelAdmission } from "./tunnel-admission.ts";
import type { TunnelAuthority } from "./tunnel-authority.ts";
import type { TunnelParts } from "./tunnel-parts.ts";

export interface TunnelRouteParts {
  readonly parts: Pick<TunnelParts, "listener" | "destination">;
  readonly outcome: CallOutcome;
  readonly authority: TunnelAuthority;
  readonly admission: TunnelAdmission;
  /** As policy sees the tunnel at an address. */
  readonly factsAt: (address: string) => CallFacts;
  /** It is allowed where it leads, and outside the mesh dialled; `address`: where that was. */
  readonly onReached: (address: string | undefined) => void;
  readonly onRefused: (error: CountersignError) => void;
}

/** Where a tunnel leads: finds the addresses of its destination, has policy look at them, and dials those outside the mesh. */
export class TunnelRoute {
  readonly #route: TunnelRouteParts;
  #addresses: CheckedAddresses | undefined;
  /** Connected, and silent until it is taken. */
  #up: Transport | undefined;
  #upError: Error | undefined;
  #over = false;

  constructor(route: TunnelRouteParts) {
    this.#route = route;
  }

  /** Those that policy allows. */
  get addresses(): CheckedAddresses {
    if (this.#addresses === undefined) throw new TypeError("asked before it was reached");
    return this.#addresses;
  }

  find(): void {
    const { parts, onRefused } = this.#route;
    const { pools } = parts.listener;
    pools.find(parts.destination, (found) => {
      if (this.#over) return;
      if (found instanceof CountersignError) onRefused(found);
      else this.#found(pools.loads.inOrder(parts.destination, found));
    });
  }

  /** What policy denies is not dialled. Where a provider would have to be asked for every address, one that is allowed is. */
  #found(found: CheckedAddresses): void {
    const { outcome, authority, admission, factsAt } = this.#route;
    const verdicts = found.map((host) => ({ host, call: factsAt(host), decision: authority.decide(factsAt(host)) }));
    const [first, ...others] = verdicts.flatMap(({ host, decision }) => (decision.kind === "allow" ? [host] : []));
    if (first !== undefined) {
      this.#reach([first, ...others]);
      return;
    }
    const [one, ...more] = verdicts.flatMap(({ host, call, decision }) =>
      decision.kind === "ask" ? [{ host, call, decision }] : [],
    );
    if (one === undefined) {
      admission.decide(factsAt(found[0]), () => this.#reach([found[0]]));
      return;
    }
    admission.wait(
      (signal) =>
        askAboutAddresses([one, ...more], ({ decision, call }) => authority.ask(decision, call, outcome, signal)),
      ({ host, asked }) => admission.settle(asked, () => this.#reach([host])),
      () => this.#found(found),
    );
  }

  #reach(addresses: CheckedAddresses): void {
    const { parts, admission, factsAt, onReached } = this.#route;
    this.#addresses = addresses;
    if (parts.destination.mesh === undefined) this.#dial(addresses);
    else admission.proceed(factsAt(addresses[0]), () => onReached(undefined));
  }

  #dial(addresses: CheckedAddresses): void {
    const { parts, outcome, admission, factsAt, onReached, onRefused } = this.#route;
    const { permit } = admission;
    if (permit === undefined) throw new TypeError("dialled before it was allowed");
    parts.listener.pools.connect(parts.destination, addresses, permit, (result, { host, load }) => {
      if (this.#over) return false;
      outcome.destinationAddress = load.address;
      if (result instanceof CountersignError) {
        onRefused(result);
        return true;
      }
      const up = result.transport;
      // held back, but for its end: nothing is relayed before the caller's first bytes are judged
      up.pause();
      const onGone = (error: Error | undefined): void => {
        this.#upError = error;
      };
      up.owner = { ...NOBODY, onGone };
      this.#up = up;
      outcome.upstreamMs = monotonicMs() - outcome.durationMs;
      admission.proceed(factsAt(host), () => onReached(host));
      return true;
    });
  }

  /** The connection, to be relayed to from now on; or why there is none any more. */
  take(): Transport | CountersignError {
    const up = this.#up;
    if (up === undefined) throw new TypeError("taken before it was dialled");
    if (!up.closed) return up;
    const why = this.#upError === undefined ? "closed the connection" : reasonOf(this.#upError);
    const { destinationAddress = "" } = this.#route.outcome;
    return new CountersignError("E_UPSTREAM_CLOSED", `${destinationAddress}: ${why}`);
  }

  /** Nobody needs the connection: `next` once it does not count as open any more. */
  giveUp(next: () => void): void {
    const up = this.#up;
    if (up === undefined || up.closed) {
      next();
      return;
    }
    up.owner = { ...NOBODY, onGone: next };
    up.destroy();
  }

  /** Ends it at once. */
  close(): void {
    this.#over = true;
    this.#up?.destroy();
  }
}
