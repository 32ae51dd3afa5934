// Sends bytes through a TCP relay: `node tcp-bytes.ts PORT BYTES`. Prints one LoadReport as JSON; an error says that count
// or CRC-32 did not come back as sent (see tcp-origin.ts).
import { connect } from "node:net";
import { crc32 } from "node:zlib";
import type { LoadReport } from "./load-report.ts";

const [port = 0, bytes = 0] = process.argv.slice(2).map(Number);
const block = Buffer.alloc(256 * 1024, "countersign");
const socket = connect(port, "127.0.0.1");
socket.setNoDelay(true);
let answer = "";
socket.setEncoding("latin1").on("data", (text: string) => {
  answer += text;
  if (answer.includes("\n")) finish();
});
socket.on("error", (error) => fail(error.message));
socket.on("close", () => fail("closed before the answer"));

let sent = 0;
let sum = 0;
const startedMs = performance.now();
function send(): void {
  while (sent < bytes) {
    const next = bytes - sent < block.length ? block.subarray(0, bytes - sent) : block;
    sum = crc32(next, sum);
    sent += next.length;
    if (!socket.write(next)) return;
  }
}
socket.once("connect", () => {
  socket.write(`${bytes}\n`);
  socket.on("drain", send);
  send();
});

function finish(): void {
  const seconds = (performance.now() - startedMs) / 1_000;
  const isIntact = answer === `${bytes} ${sum}\n`;
  const report: LoadReport = { units: bytes, calls: 1, seconds, p50Us: 0, p99Us: 0, errors: isIntact ? 0 : 1 };
  process.stdout.write(`${JSON.stringify(report)}\n`, () => process.exit(0));
}

function fail(reason: string): void {
  console.error(`tcp-bytes: ${reason} after ${sent} bytes`);
  process.exit(1);
}
