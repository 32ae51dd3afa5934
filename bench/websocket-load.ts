// Sends a message and waits for its echo, over and over: `node websocket-load.ts PORT CONNECTIONS SECONDS`. Prints one
// LoadReport as JSON.
import { connect } from "node:net";
import { Latencies } from "./latencies.ts";
import type { LoadReport } from "./load-report.ts";
import { clientFrame, serverFrame } from "./websocket-echo.ts";

const [port = 0, connections = 1, seconds = 1] = process.argv.slice(2).map(Number);
const handshake = `GET /echo HTTP/1.1\r\nHost: orders.bench.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n`;
const latencies = new Latencies();
let errors = 0;
let isOver = false;

/** One connection, until the time is up. Resolves when it is closed. */
function echo(): Promise<void> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: "127.0.0.1", noDelay: true });
    let head = "";
    let isOpen = false;
    let missing = 0;
    let sentMs = 0;
    const send = (): void => {
      missing = serverFrame.length;
      sentMs = performance.now();
      socket.write(clientFrame);
    };
    socket.once("connect", () => socket.write(handshake));
    socket.on("error", () => errors++);
    socket.once("close", () => {
      if (!isOver) errors++;
      resolve();
    });
    socket.on("data", (chunk: Buffer) => {
      if (!isOpen) {
        head += chunk.toString("latin1");
        if (!head.includes("\r\n\r\n")) return;
        isOpen = head.startsWith("HTTP/1.1 101");
        if (isOpen) send();
        else socket.destroy();
        return;
      }
      missing -= chunk.length;
      if (missing > 0) return;
      latencies.add(performance.now() - sentMs);
      if (isOver) socket.end();
      else send();
    });
  });
}

const startedMs = performance.now();
setTimeout(() => {
  isOver = true;
}, seconds * 1e3);
await Promise.all(Array.from({ length: connections }, echo));
const report: LoadReport = {
  units: latencies.count,
  calls: connections,
  seconds: (performance.now() - startedMs) / 1e3,
  p50Us: latencies.percentileUs(0.5),
  p99Us: latencies.percentileUs(0.99),
  errors,
};
console.log(JSON.stringify(report));
