import { Socket, type SocketConstructorOpts } from "node:net";
import { TLSSocket } from "node:tls";
import { atOneTime } from "./monotonic.ts";

/** A little less than four TLS records (RFC 8446 section 5.1): with the frame header that HTTP/2 puts before it, a full read still fills four and
 *  leaves nothing over for a fifth. */
const READ_BYTES = 64 * 1024 - 64;
/** Reads shorter than this have a view that is kept for the next read of that length: heads, mostly. */
const KEPT_VIEW_BYTES = 2048;

/** A buffer that many sockets read into, one read at a time. */
class Landing {
  readonly buffer: Buffer = Buffer.allocUnsafeSlow(READ_BYTES);
  readonly #views: (Buffer | undefined)[] = Array.from({ length: KEPT_VIEW_BYTES });

  /** What a read of that length brought. Making a view costs as much as looking at every byte of a small head. */
  view(length: number): Buffer {
    if (length >= KEPT_VIEW_BYTES) return this.buffer.subarray(0, length);
    const kept = this.#views[length];
    if (kept !== undefined) return kept;
    const made = this.buffer.subarray(0, length);
    this.#views[length] = made;
    return made;
  }
}

/** Every plaintext read of this thread lands here: what a read brought is dealt with, or copied, before the next. Left alone Node gives
 *  each read a fresh 64 KiB buffer, and the garbage collector more to do than the proxy itself has. */
const landing = new Landing();

/** Receives a read's bytes: valid during the call only. */
export type ByteReceiver = (bytes: Buffer) => void;

const receivers = new WeakMap<Socket, { receive: ByteReceiver | undefined }>();

/** `handle` is what a server accepted; Node has no public type for it. */
function makeSocket(options: { readonly handle?: unknown }): Socket {
  const slot: { receive: ByteReceiver | undefined } = { receive: undefined };
  const socket = new Socket({
    ...options,
    allowHalfOpen: true,
    onread: {
      buffer: landing.buffer,
      callback: (length: number) => {
        if (slot.receive !== undefined) atOneTime(slot.receive, landing.view(length));
        return true;
      },
    },
  } as SocketConstructorOpts);
  receivers.set(socket, slot);
  return socket;
}

/** A socket to connect that reads into the shared buffer. */
export function newPlainSocket(): Socket {
  return makeSocket({});
}

/** Takes an accepted socket's handle over into one that reads into the shared buffer: a server has no such option itself.
 *  Returns the socket unchanged where Node gives no handle. */
export function adoptPlainSocket(accepted: Socket): Socket {
  const holder = accepted as { _handle?: unknown };
  const handle = holder._handle;
  if (handle === undefined || handle === null) return accepted;
  holder._handle = null;
  return makeSocket({ handle });
}

interface ReadingHandle {
  useUserBuffer?: (buffer: Buffer) => void;
}

/** Lets a plaintext socket's next reads bring so many bytes at most; undefined: as many as usual. For who must read on, but has no place for
 *  much. Of a TLS socket a record is the least that is read anyway. */
export function limitReads(socket: Socket, bytes: number | undefined): void {
  if (!receivers.has(socket)) return;
  const handle = (socket as { _handle?: ReadingHandle | null })._handle;
  handle?.useUserBuffer?.(bytes === undefined ? landing.buffer : landing.buffer.subarray(0, bytes));
}

/** Where every TLS read of this thread lands, for the same reason. */
const tlsLanding = new Landing();

/** Lets a TLS socket read into the shared buffer, as its `onread` option would if Node took that option for a socket that wraps another one.
 *  What the option sets are fields named by symbols; where a Node has others, or bytes were read already, nothing is changed and the
 *  socket emits `data`: slower, and right. */
function landTlsReads(socket: Socket, receive: ByteReceiver): boolean {
  const handle = (socket as { _handle?: ReadingHandle | null })._handle;
  const symbols = Object.getOwnPropertySymbols(socket);
  const bufferKey = symbols.find(({ description }) => description === "kBuffer");
  const callbackKey = symbols.find(({ description }) => description === "kBufferCb");
  if (handle?.useUserBuffer === undefined || bufferKey === undefined || callbackKey === undefined) return false;
  if (socket.readableLength > 0 || socket.readableFlowing !== null) return false;
  Object.assign(socket, {
    [bufferKey]: tlsLanding.buffer,
    [callbackKey]: (length: number) => {
      atOneTime(receive, tlsLanding.view(length));
      return true;
    },
  });
  handle.useUserBuffer(tlsLanding.buffer);
  return true;
}

/** Sends a socket's bytes to `receive` and starts reading. */
export function receiveBytes(socket: Socket, receive: ByteReceiver): void {
  const slot = receivers.get(socket);
  if (slot !== undefined) slot.receive = receive;
  else if (!(socket instanceof TLSSocket && landTlsReads(socket, receive))) socket.on("data", receive);
}
