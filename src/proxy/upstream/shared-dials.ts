import type { CountersignError } from "../../core/errors.ts";
import type { Http2ClientConnection } from "./http2-client-connection.ts";

/** Who waits for a connection that others can share. */
export interface SharedWaiter {
  /** It needs a peer that takes extended CONNECT. */
  readonly upgrades: boolean;
  /** Takes its place on the connection. */
  serve(connection: Http2ClientConnection): void;
  /** The connection has no place for it, or there is no such connection: it asks again. */
  again(): void;
  fail(error: CountersignError): void;
}

/** A shared connection that is being made, with those who will be on it. */
export interface SharedDial {
  readonly fingerprint: string;
  readonly waiting: SharedWaiter[];
}

/** The connections that are being made for many to share: whoever needs one meanwhile joins. */
export class SharedDials {
  #dials: SharedDial[] = [];
  /** Connected, but the other side has not said yet that it speaks HTTP/2. */
  readonly #unsettled = new Map<Http2ClientConnection, SharedDial>();

  /** Joins one of our SVID's with fewer than `places` on it. False if there is none. */
  join(fingerprint: string, waiter: SharedWaiter, places: number): boolean {
    const underWay = this.#dials.find((one) => one.fingerprint === fingerprint && one.waiting.length < places);
    underWay?.waiting.push(waiter);
    return underWay !== undefined;
  }

  begin(fingerprint: string, waiter: SharedWaiter): SharedDial {
    const dial: SharedDial = { fingerprint, waiting: [waiter] };
    this.#dials.push(dial);
    return dial;
  }

  /** Nobody joins it any more. */
  end(dial: SharedDial): void {
    this.#dials = this.#dials.filter((one) => one !== dial);
  }

  /** It is connected; who comes still joins, until the other side has said that it speaks HTTP/2. */
  awaitSettings(connection: Http2ClientConnection, dial: SharedDial): void {
    this.#unsettled.set(connection, dial);
  }

  /** The other side has said it, or is gone: who waited for that, if somebody did. */
  settle(connection: Http2ClientConnection): readonly SharedWaiter[] | undefined {
    const dial = this.#unsettled.get(connection);
    if (dial === undefined) return undefined;
    this.#unsettled.delete(connection);
    this.end(dial);
    return dial.waiting;
  }
}
