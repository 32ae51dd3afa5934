// The TCP app behind every peer: `node tcp-origin.ts PORT`. Reads a line with a byte count, then that many bytes; answers
// a line "<bytes> <crc32>".
import { createServer, type Socket } from "node:net";
import { crc32 } from "node:zlib";

function serveTcp(socket: Socket): void {
  let line = "";
  let expected = -1;
  let received = 0;
  let sum = 0;
  socket.setNoDelay(true);
  socket.on("error", () => socket.destroy());
  socket.on("data", (chunk: Buffer) => {
    let rest: Buffer = chunk;
    if (expected < 0) {
      const end = chunk.indexOf(0x0a);
      line += chunk.toString("latin1", 0, end < 0 ? chunk.length : end);
      if (end < 0) return;
      expected = Number(line);
      rest = chunk.subarray(end + 1);
    }
    sum = crc32(rest, sum);
    received += rest.length;
    if (received >= expected) socket.write(`${received} ${sum}\n`);
  });
}

createServer(serveTcp).listen(Number(process.argv[2]), "127.0.0.1", 4096);
