import { once } from "node:events";
import { Writable } from "node:stream";
import type { ServerWritableStream } from "@grpc/grpc-js";
import { describe, expect, it } from "vitest";
import { fakeClock } from "../../../test/support/fake-clock.ts";
import { type Push, pushStream } from "./push-stream.ts";

interface Client {
  readonly call: ServerWritableStream<unknown, string>;
  readonly received: string[];
  /** Lets a client that does not read take one message. */
  readOne(): void;
}

/** The writable half of a call with room for one message. */
function fakeCall(reads: boolean): Client {
  const received: string[] = [];
  let taken = (): void => undefined;
  const call = new Writable({
    objectMode: true,
    highWaterMark: 1,
    write(message: string, _encoding, done) {
      received.push(message);
      call.emit("received");
      if (reads) done();
      else taken = done;
    },
  }) as unknown as ServerWritableStream<unknown, string>;
  return { call, received, readOne: () => taken() };
}

function harness(state: { push: () => Promise<Push<string>> }, reads = true) {
  const clock = fakeClock();
  const listeners = new Set<() => void>();
  const failures: unknown[] = [];
  const client = fakeCall(reads);
  const stop = pushStream(client.call, {
    clock,
    compute: () => state.push(),
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    fail: (error) => failures.push(error),
  });
  const change = (): void => {
    for (const listener of listeners) listener();
  };
  return { clock, client, change, stop, failures, listeners };
}
const push = (version: string, nextAtMs = Infinity) => Promise.resolve({ message: version, version, nextAtMs });
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe("a push stream", () => {
  it("sends the state, then each other state, and nothing twice", async () => {
    const state = { push: () => push("a") };
    const { client, change } = harness(state);
    await once(client.call, "received");
    change();
    await turn();
    state.push = () => push("b");
    change();
    await turn();
    expect(client.received).toEqual(["a", "b"]);
  });

  it("looks again when the time has come", async () => {
    const clockStart = fakeClock().nowMs();
    const state = { push: () => push("a", clockStart + 60_000) };
    const { client, clock } = harness(state);
    await turn();
    state.push = () => push("b");
    clock.advance(59_999);
    await turn();
    expect(client.received).toEqual(["a"]);
    clock.advance(1);
    await turn();
    expect(client.received).toEqual(["a", "b"]);
    expect(clock.pending).toBe(0);
  });

  it("holds nothing for a client that does not read: it gets the latest state afterwards", async () => {
    let version = 0;
    const { client, change } = harness({ push: () => push(String(version)) }, false);
    await turn();
    for (version = 1; version <= 100; version++) {
      change();
      // oxlint-disable-next-line no-await-in-loop -- each change is seen on its own
      await turn();
    }
    expect(client.received).toEqual(["0"]);
    client.readOne();
    await turn();
    expect(client.received).toEqual(["0", "101"]);
  });

  it("does not send what a change during the work has overtaken", async () => {
    const states: Array<() => void> = [];
    let version = "old";
    const state = {
      push: () => {
        const mine = version;
        return new Promise<Push<string>>((resolve) => {
          states.push(() => resolve({ message: mine, version: mine, nextAtMs: Infinity }));
        });
      },
    };
    const { client, change } = harness(state);
    version = "new";
    change();
    states[0]?.();
    await turn();
    states[1]?.();
    await turn();
    expect(client.received).toEqual(["new"]);
  });

  it("ends with the error of the work, once, and listens no more", async () => {
    const problem = new Error("no entry");
    const { failures, listeners, change } = harness({ push: () => Promise.reject(problem) });
    await turn();
    change();
    await turn();
    expect(failures).toEqual([problem]);
    expect(listeners.size).toBe(0);
  });

  it("is over when the client cancels, also while it does not read", async () => {
    const { client, clock, listeners, failures } = harness({ push: () => push("a", Infinity) }, false);
    await turn();
    client.call.emit("cancelled");
    await turn();
    expect([listeners.size, clock.pending, failures]).toEqual([0, 0, []]);
  });
});
