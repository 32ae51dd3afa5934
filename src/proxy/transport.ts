import type { Socket } from "node:net";
import { OutputBuffer, recycle } from "./http1/output-buffer.ts";
import { receiveBytes } from "./socket-reads.ts";

/** Who receives a transport's events. A transport has one owner at a time; a protocol switch hands it over. */
export interface TransportOwner {
  /** The bytes are valid during the call only: what is to stay is copied. */
  onBytes(chunk: Buffer): void;
  /** The other side sent its last byte (FIN, close_notify). */
  onFin(): void;
  /** Output fell below the limit after `congested` was true. */
  onWritable(): void;
  /** The socket is gone. Called once, also after destroy(). */
  onGone(error: Error | undefined): void;
}

/** A byte stream both ways with an output buffer: a socket, or a stream of a shared connection that stands for one. */
export interface Transport {
  /** Bytes that wait to be written; `touch` after appending. */
  readonly out: OutputBuffer;
  owner: TransportOwner;
  readonly closed: boolean;
  readonly error: Error | undefined;
  /** Whether a source should be paused. Whoever sees true gets onWritable later. */
  readonly congested: boolean;
  /** Bytes that wait for the other side to read, wherever in this process. */
  readonly backlog: number;
  /** To be called after appending to `out`. */
  touch(): void;
  /** As touch(); much at once is written at once. */
  touchSoon(): void;
  /** Appends a copy of body bytes. Much at once is written at once. */
  writeBytes(chunk: Uint8Array): void;
  /** Writes what waits now instead of at the end of the turn. */
  flush(): void;
  pause(): void;
  resume(): void;
  /** Sends what waits, then FIN. Reading goes on. */
  end(): void;
  /** Ends at once. */
  destroy(): void;
  /** Ends so that the other side sees an aborted body as aborted, not as complete. */
  abort(): void;
}

const ignored = (): void => undefined;
/** Owner of a transport whose protocol is not told yet. */
export const NOBODY: TransportOwner = { onBytes: ignored, onFin: ignored, onWritable: ignored, onGone: ignored };

/** Output waiting above this many bytes holds the source back: 64 KiB each way. */
const HIGH_WATER_BYTES = 64 * 1024;

/** From here on a copy costs more than lending the buffer until it is written. */
const DETACH_BYTES = 16 * 1024;

/** Something with output to write when the turn ends. */
interface Flushable {
  flush(): void;
}

const dirty: Flushable[] = [];
let flushScheduled = false;
let turn = 0;

/** A number of this event-loop turn: another one in the next turn, once somebody has asked for the flush at the end of this one. */
export function currentTurn(): number {
  return turn;
}

/** Has `flush` called at the end of this event-loop turn. To be asked once a turn. */
export function flushAtTurnEnd(transport: Flushable): void {
  dirty.push(transport);
  if (flushScheduled) return;
  flushScheduled = true;
  setImmediate(flushDirty);
}

function flushDirty(): void {
  flushScheduled = false;
  turn++;
  // flush() may make others dirty (a drain resumes a source): those wait for the next turn.
  const batch = dirty.splice(0);
  for (const transport of batch) transport.flush();
}

/** A socket with one write per event-loop turn. Whatever a turn's events append to `out` is written at once when the turn
 *  ends: the number of system calls, not of bytes, is what a proxy pays for. */
export class SocketTransport implements Transport {
  readonly socket: Socket;
  readonly out: OutputBuffer = new OutputBuffer();
  #owner: TransportOwner;
  #dirty = false;
  /** socket.write said false and `drain` has not come yet. */
  #blocked = false;
  /** Somebody saw `congested` and waits for onWritable. */
  #awaitingDrain = false;
  #ending = false;
  #closed = false;
  #error: Error | undefined;

  constructor(socket: Socket, owner: TransportOwner) {
    this.socket = socket;
    this.#owner = owner;
    receiveBytes(socket, (bytes) => this.#owner.onBytes(bytes));
    socket.on("end", () => this.#owner.onFin());
    socket.on("drain", () => {
      this.#blocked = false;
      this.#drained();
    });
    socket.on("error", (error: Error) => {
      this.#error ??= error;
    });
    socket.on("close", () => {
      if (this.#closed) return;
      this.#closed = true;
      this.#owner.onGone(this.#error);
    });
  }

  get owner(): TransportOwner {
    return this.#owner;
  }

  set owner(owner: TransportOwner) {
    this.#owner = owner;
  }

  get closed(): boolean {
    return this.#closed || this.socket.destroyed;
  }

  get error(): Error | undefined {
    return this.#error;
  }

  /** Whether a source should be paused. Whoever sees true gets onWritable later. */
  get congested(): boolean {
    if (this.#closed) return false;
    if (this.#blocked || this.out.length > HIGH_WATER_BYTES) {
      this.#awaitingDrain = true;
      return true;
    }
    return false;
  }

  get backlog(): number {
    return this.out.length + this.socket.writableLength;
  }

  touch(): void {
    if (this.#dirty) return;
    this.#dirty = true;
    flushAtTurnEnd(this);
  }

  writeBytes(chunk: Uint8Array): void {
    this.out.bytes(chunk);
    this.touchSoon();
  }

  touchSoon(): void {
    if (this.out.length >= HIGH_WATER_BYTES) this.#flushOut();
    else this.touch();
  }

  /** Writes what waits now instead of at the end of the turn. */
  flush(): void {
    this.#dirty = false;
    this.#flushOut();
    if (!this.#blocked) this.#drained();
  }

  #flushOut(): void {
    if (this.out.length === 0) return;
    if (this.closed || this.#ending) {
      this.out.reset();
      return;
    }
    if (this.out.length < DETACH_BYTES) {
      if (!this.socket.write(this.out.take())) this.#blocked = true;
      return;
    }
    const bytes = this.out.detach();
    if (!this.socket.write(bytes, () => recycle(bytes))) this.#blocked = true;
  }

  #drained(): void {
    if (!this.#awaitingDrain || this.#closed) return;
    this.#awaitingDrain = false;
    this.#owner.onWritable();
  }

  pause(): void {
    this.socket.pause();
  }

  resume(): void {
    if (!this.closed) this.socket.resume();
  }

  /** Sends what waits, then FIN. Reading goes on. */
  end(): void {
    if (this.#ending) return;
    this.#flushOut();
    this.#ending = true;
    this.socket.end();
  }

  /** Ends at once; what waits in `out` is still tried, so that a refusal's answer leaves. */
  destroy(): void {
    this.socket.destroy();
    this.out.reset();
  }

  /** Closes with RST where the platform can, so that a peer sees an aborted body as aborted, not as complete. */
  abort(): void {
    this.out.reset();
    if (this.socket.destroyed) return;
    const { socket } = this;
    if ("encrypted" in socket) socket.destroy();
    else socket.resetAndDestroy();
  }
}
