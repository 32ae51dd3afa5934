// One call over a connection, in each of the wires that apps speak.
import { connect } from "node:http2";
import type { Socket } from "node:net";
import type { Wire } from "./workloads.ts";

const timeoutMs = 5_000;
const authority = "orders.bench.test";

/** "ok" when the origin answered, else what came instead. Ends the connection. */
export function answerOver(socket: Socket, wire: Wire): Promise<string> {
  return new Promise((resolve) => {
    const settle = (answer: string): void => {
      resolve(answer);
      socket.destroy();
    };
    socket.setTimeout(timeoutMs, () => settle("no answer in time"));
    socket.on("error", (error) => settle(error.message));
    socket.on("close", () => settle("closed"));
    switch (wire) {
      case "http1":
        return ask(socket, `GET /small HTTP/1.1\r\nHost: ${authority}\r\nConnection: close\r\n\r\n`, (text) => {
          const status = /^HTTP\/1\.[01] (\d{3})/.exec(text)?.[1];
          if (status !== undefined) settle(status === "200" ? "ok" : status);
        });
      case "http2":
        return askHttp2(socket, settle);
      case "tcp":
        return ask(socket, "5\nhello", (text) => {
          if (text.endsWith("\n")) settle(text.startsWith("5 ") ? "ok" : text);
        });
    }
  });
}

function ask(socket: Socket, question: string, onText: (text: string) => void): void {
  let text = "";
  socket.on("data", (bytes: Buffer) => {
    text += bytes.toString("latin1");
    onText(text);
  });
  socket.write(question);
}

function askHttp2(socket: Socket, settle: (answer: string) => void): void {
  const session = connect(`http://${authority}`, { createConnection: () => socket });
  session.on("error", (error) => settle(error.message));
  const stream = session.request({ ":method": "GET", ":path": "/small" });
  stream.on("error", (error) => settle(error.message));
  stream.on("response", (headers) => {
    const status = headers[":status"] ?? 0;
    settle(isAnswered(status) ? "ok" : String(status));
  });
  stream.resume();
}

/** The gRPC origins know no such path and say so, which is their answer all the same. */
function isAnswered(status: number): boolean {
  return status === 200 || status === 404 || status === 415;
}
