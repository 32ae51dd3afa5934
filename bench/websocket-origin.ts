// A WebSocket echo: `node websocket-origin.ts PORT`. Answers any other request with 200.
import { createHash } from "node:crypto";
import { createServer, type Socket } from "node:net";
import { clientFrame, serverFrame } from "./websocket-echo.ts";

const guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

function serve(socket: Socket): void {
  let head = "";
  let isOpen = false;
  let pending: Buffer = Buffer.alloc(0);
  socket.setNoDelay(true);
  socket.on("error", () => socket.destroy());
  socket.on("data", (chunk: Buffer) => {
    if (!isOpen) {
      head += chunk.toString("latin1");
      if (!head.includes("\r\n\r\n")) return;
      const key = /\r\nsec-websocket-key: *(\S+)/i.exec(head)?.[1];
      head = "";
      if (key === undefined) {
        socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        return;
      }
      const accept = createHash("sha1").update(`${key}${guid}`).digest("base64");
      socket.write(
        `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
      );
      isOpen = true;
      return;
    }
    const bytes = pending.length === 0 ? chunk : Buffer.concat([pending, chunk]);
    const frames = Math.floor(bytes.length / clientFrame.length);
    for (let frame = 0; frame < frames; frame++) {
      if (
        bytes.compare(clientFrame, 0, clientFrame.length, frame * clientFrame.length, (frame + 1) * clientFrame.length)
      )
        return void socket.destroy(); // not what was sent: the load sees the connection end
      socket.write(serverFrame);
    }
    pending = bytes.subarray(frames * clientFrame.length);
  });
}

createServer(serve).listen(Number(process.argv[2]), "127.0.0.1", 511);
