import { CountersignError } from "../../core/errors.ts";
import { type Deadlines, deadlineAfter, type HasDeadline } from "../deadlines.ts";
import type { Transport, TransportOwner } from "../transport.ts";
import {
  readSocks5Greeting,
  readSocks5Request,
  SOCKS5_REPLY,
  type Socks5Reply,
  type Socks5Request,
  socks5Method,
  socks5ReplyBytes,
} from "./wire/socks5.ts";

export interface Socks5FrontOptions {
  readonly transport: Transport;
  readonly deadlines: Deadlines;
  /** For greeting and request together. */
  readonly timeoutMs: number;
  /** The transport is paused, its owner to be set. `early`: bytes behind the request, undefined if there are none. */
  readonly onRequest: (request: Extract<Socks5Request, { kind: "connect" }>, early: Uint8Array | undefined) => void;
  /** The answer is written; the connection is to be ended. */
  readonly onRefused: (error: CountersignError) => void;
  readonly onGone: () => void;
}

/** Talks SOCKS5 with a caller until it has said where it wants to go. */
export class Socks5Front implements TransportOwner, HasDeadline {
  readonly #options: Socks5FrontOptions;
  readonly deadlineMs: number;
  #bytes: Uint8Array = new Uint8Array(0);
  #greeted = false;
  #done = false;

  constructor(options: Socks5FrontOptions) {
    this.#options = options;
    this.deadlineMs = deadlineAfter(options.timeoutMs);
    options.deadlines.add(this);
    options.transport.owner = this;
  }

  onBytes(chunk: Uint8Array): void {
    if (this.#done) return;
    this.#bytes = Buffer.concat([this.#bytes, chunk]);
    if (!this.#greeted && !this.#readGreeting()) return;
    const request = readSocks5Request(this.#bytes);
    switch (request.kind) {
      case "more":
        return;
      case "refused":
        this.#write(socks5ReplyBytes(request.reply));
        this.#refused(request.reason);
        return;
      case "connect": {
        const early = this.#bytes.subarray(request.used);
        this.#finish();
        this.#options.transport.pause();
        this.#options.onRequest(request, early.length === 0 ? undefined : early);
        return;
      }
    }
  }

  #readGreeting(): boolean {
    const greeting = readSocks5Greeting(this.#bytes);
    switch (greeting.kind) {
      case "more":
        return false;
      case "malformed":
        this.#refused(greeting.reason);
        return false;
      case "greeting":
        this.#write(socks5Method(greeting.acceptable));
        if (!greeting.acceptable) {
          this.#refused("the client offers no way without user and password");
          return false;
        }
        this.#greeted = true;
        this.#bytes = this.#bytes.subarray(greeting.used);
        return true;
    }
  }

  #write(bytes: Uint8Array): void {
    this.#options.transport.writeBytes(bytes);
  }

  #refused(reason: string): void {
    this.#finish();
    this.#options.onRefused(new CountersignError("E_EGRESS_SOCKS", reason));
  }

  #finish(): void {
    this.#done = true;
    this.#options.deadlines.delete(this);
  }

  onFin(): void {
    if (!this.#done) this.#refused("the connection ended in the middle of the client's request");
  }

  onWritable(): void {
    // a few bytes are written at most
  }

  onGone(): void {
    if (this.#done) return;
    this.#finish();
    this.#options.onGone();
  }

  onDeadline(): void {
    this.#refused("the client's request did not arrive in time");
  }
}

/** The reply that tells a SOCKS5 client most about an error. */
export function socks5ReplyTo(error: CountersignError): Socks5Reply {
  const { code, message } = error;
  if (code === "E_EGRESS_RESOLVE") return SOCKS5_REPLY.hostUnreachable;
  if (code === "E_UPSTREAM_CONNECT") {
    if (message.endsWith("ECONNREFUSED")) return SOCKS5_REPLY.connectionRefused;
    return message.endsWith("ENETUNREACH") ? SOCKS5_REPLY.networkUnreachable : SOCKS5_REPLY.hostUnreachable;
  }
  const isRefused = /^E_(?:EGRESS|POLICY|EXT_AUTHZ)_/.test(code) || code === "E_CALLER_UID";
  return isRefused ? SOCKS5_REPLY.notAllowed : SOCKS5_REPLY.generalFailure;
}
