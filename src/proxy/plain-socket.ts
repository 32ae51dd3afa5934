import { Socket, type SocketConstructorOpts } from "node:net";

const READ_BYTES = 64 * 1024;
/** Every plaintext read of this thread lands here: what a read brought is dealt with, or copied, before the next. Left alone Node gives
 *  each read a fresh 64 KiB buffer, and the garbage collector more to do than the proxy itself has. */
const landing = Buffer.allocUnsafeSlow(READ_BYTES);

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
      buffer: landing,
      callback: (length: number) => {
        slot.receive?.(landing.subarray(0, length));
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

/** Sends a socket's bytes to `receive`, whether it reads into the shared buffer or emits `data`. */
export function receiveBytes(socket: Socket, receive: ByteReceiver): void {
  const slot = receivers.get(socket);
  if (slot === undefined) socket.on("data", receive);
  else slot.receive = receive;
}
