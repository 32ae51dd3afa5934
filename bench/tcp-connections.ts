// Connects, exchanges 64 bytes for an answer, closes, over and over: `node tcp-connections.ts PORT AT_ONCE SECONDS`. Prints
// one LoadReport as JSON. Times are from connecting to the answer.
import { connect } from "node:net";
import { crc32 } from "node:zlib";
import { Latencies } from "./latencies.ts";
import type { LoadReport } from "./load-report.ts";

const [port = 0, atOnce = 1, seconds = 1] = process.argv.slice(2).map(Number);
const body = Buffer.alloc(64, "countersign");
const question = Buffer.concat([Buffer.from(`${body.length}\n`), body]);
const answer = `${body.length} ${crc32(body)}\n`;
const latencies = new Latencies();
let errors = 0;

function exchange(): Promise<void> {
  return new Promise((resolve) => {
    const startedMs = performance.now();
    const socket = connect({ port, host: "127.0.0.1", noDelay: true });
    let received = "";
    socket.once("connect", () => socket.write(question));
    socket.on("error", () => undefined); // the answer is missing then, which counts once
    socket.setEncoding("latin1").on("data", (text: string) => {
      received += text;
      if (!received.endsWith("\n")) return;
      if (received === answer) latencies.add(performance.now() - startedMs);
      socket.end();
    });
    socket.once("close", () => {
      if (received !== answer) errors++;
      resolve();
    });
  });
}

const startedMs = performance.now();
const untilMs = startedMs + seconds * 1e3;
async function caller(): Promise<void> {
  while (performance.now() < untilMs && errors < 1_000) await exchange();
}
await Promise.all(Array.from({ length: atOnce }, caller));
const report: LoadReport = {
  units: latencies.count,
  calls: latencies.count,
  seconds: (performance.now() - startedMs) / 1e3,
  p50Us: latencies.percentileUs(0.5),
  p99Us: latencies.percentileUs(0.99),
  errors,
};
console.log(JSON.stringify(report));
