import { Agent, request } from "node:http";
import type { Socket } from "node:net";
import fc from "fast-check";
import { expect, it } from "vitest";
import { startTcpApp } from "../support/app.ts";
import { startMesh } from "../support/mesh.ts";
import { type ResponseMutant, responseMutant } from "./response-mutants.ts";

const count = 1_000;
const atOnce = 8;

interface Answer {
  /** 0: none. */
  readonly status: number;
  readonly body: string;
  readonly isOurs: boolean;
  readonly failure: string | undefined;
}

it.each(["http1", "http"])(
  "an app's mutated response (protocol %s) is never part of an answer to another call",
  async (protocol) => {
    const seed = Math.floor(Date.now() / 86_400_000); // new ones each day
    const mutants = fc.sample(responseMutant, { numRuns: count, seed });
    const app = await startTcpApp((socket) => serve(socket, mutants));
    const mesh = await startMesh({ appPort: app.port, protocol, both: "timeouts: { firstByte: 500ms, idle: 500ms }" });
    const wrong: string[] = [];
    let passed = 0;
    let next = 0;
    const caller = async (): Promise<void> => {
      const agent = new Agent({ keepAlive: true, maxSockets: 1 });
      for (let number = next++; number < count; number = next++) {
        const answer = await call(agent, mesh.port, `/m/${number}`);
        if (answer.status !== 0 && !answer.isOurs) passed++;
        // an answer that broke off is one, but no answer may be what no HTTP client can read
        if (answer.failure?.startsWith("Parse") === true) wrong.push(`${describe(mutants, number)}: ${answer.failure}`);
        const other = await call(agent, mesh.port, `/v/${number}`);
        if (other.status !== 200 || other.body !== `victim ${number}`)
          wrong.push(
            `${describe(mutants, number)}: the next call was answered ${other.status} ${JSON.stringify(other.body)} ${other.failure ?? ""}`,
          );
      }
      agent.destroy();
    };
    await Promise.all(Array.from({ length: atOnce }, caller));
    await mesh.close();
    await app.close();
    expect(wrong, `seed ${seed}`).toEqual([]);
    expect(passed).toBeGreaterThan(count / 4);
  },
);

/** Answers /m/N with mutant N, everything else as it should. */
function serve(socket: Socket, mutants: readonly ResponseMutant[]): void {
  let text = "";
  socket.on("end", () => socket.end());
  socket.on("data", (chunk: Buffer) => {
    text += chunk.toString("latin1");
    for (let end = text.indexOf("\r\n\r\n"); end >= 0; end = text.indexOf("\r\n\r\n")) {
      const [, kind = "", number = ""] = /^\w+ \/(\w)\/(\d+)/.exec(text) ?? [];
      text = text.slice(end + 4);
      const mutant = kind === "m" ? mutants[Number(number)] : undefined;
      const body = `victim ${number}`;
      if (mutant === undefined) socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
      else if (mutant.ends) socket.end(mutant.bytes);
      else socket.write(mutant.bytes);
    }
  });
}

function call(agent: Agent, port: number, path: string): Promise<Answer> {
  return new Promise((resolve) => {
    let status = 0;
    let body = "";
    let isOurs = false;
    const settle = (failure?: string): void => resolve({ status, body, isOurs, failure });
    const sent = request({ agent, host: "127.0.0.1", port, path, timeout: 5_000 }, (response) => {
      status = response.statusCode ?? 0;
      isOurs = response.headers["x-countersign-code"] !== undefined;
      response.setEncoding("latin1").on("data", (part: string) => {
        body += part;
      });
      response.on("end", () => settle());
      response.on("error", (error) => settle(error.message));
    });
    sent.on("timeout", () => sent.destroy(new Error("no answer in time")));
    sent.on("error", (error) => settle(error.message));
    sent.end();
  });
}

function describe(mutants: readonly ResponseMutant[], number: number): string {
  const mutant = mutants[number];
  return `${mutant?.mutations.join(" + ")} ${JSON.stringify(mutant?.bytes.toString("latin1"))}`;
}
