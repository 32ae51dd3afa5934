import { connect } from "node:net";

/** Whether something accepts connections on a Unix socket. */
export function isUnixSocketListening(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}
