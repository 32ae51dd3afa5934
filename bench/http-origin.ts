// The HTTP/1.1 app behind every peer where nginx is not installed: `node http-origin.ts PORT`. As cheap as Node can be:
// no HTTP parser, prepared answers, no pipelining (no peer does it). GET /64k answers 64 KiB; everything else 128 bytes,
// after its body was read and thrown away.
import { createServer, type Socket } from "node:net";

const bodyBytes = { small: 128, large: 64 * 1024 };

function response(length: number): Buffer {
  return Buffer.from(
    `HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: ${length}\r\n\r\n${"x".repeat(length)}`,
    "latin1",
  );
}
const small = response(bodyBytes.small);
const large = response(bodyBytes.large);
const lastChunk = Buffer.from("0\r\n\r\n", "latin1");

function serveHttp(socket: Socket): void {
  let head: Buffer = Buffer.alloc(0);
  /** Bytes of the request's body still to come; -1 while a chunked one has not ended. */
  let bodyLeft = 0;
  let answer = small;
  socket.setNoDelay(true);
  socket.on("error", () => socket.destroy());
  socket.on("data", (chunk: Buffer) => {
    let rest: Buffer = chunk;
    if (bodyLeft === 0) {
      head = head.length === 0 ? chunk : Buffer.concat([head, chunk]);
      const end = head.indexOf("\r\n\r\n");
      if (end < 0) return;
      answer = head.toString("latin1", 0, 9).startsWith("GET /64k") ? large : small;
      bodyLeft = head[0] === 0x50 /* P */ ? bodyLengthOf(head.toString("latin1", 0, end)) : 0;
      rest = head.subarray(end + 4);
      head = Buffer.alloc(0);
    }
    if (bodyLeft > 0) bodyLeft = Math.max(0, bodyLeft - rest.length);
    else if (bodyLeft < 0 && rest.subarray(-5).equals(lastChunk)) bodyLeft = 0;
    if (bodyLeft === 0) socket.write(answer);
  });
}

function bodyLengthOf(head: string): number {
  const length = /\r\ncontent-length: *(\d+)/i.exec(head)?.[1];
  return length === undefined ? -1 : Number(length);
}

createServer(serveHttp).listen(Number(process.argv[2]), "127.0.0.1", 511);
