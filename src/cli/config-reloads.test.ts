import { describe, expect, it } from "vitest";
import type { OpenedPolicyUrl } from "../config/policy-url-source.ts";
import type { SidecarConfig } from "../config/sidecar-config.ts";
import { type ConfigReloadParts, createConfigReloads } from "./config-reloads.ts";

/** Configurations that are their texts. `mute`: its server never answers; `bad`: cannot be read; `policies`: fails for them while `areInvalid`;
 *  `port`: fails when it comes into force; `again`: needs a source that was not opened the first time. */
function start(compiling: Promise<unknown> = Promise.resolve()) {
  const heard: string[] = [];
  const stop = new AbortController();
  let turn = Promise.resolve();
  let areInvalid = true;
  let isFirst = true;
  const textOf = ({ file }: SidecarConfig): string => file;
  const parts: ConfigReloadParts = {
    read(text) {
      if (text === "bad") throw new Error("bad");
      return { file: text } as Partial<SidecarConfig> as SidecarConfig;
    },
    open(next, signal) {
      heard.push(`open ${textOf(next)}`);
      if (textOf(next) !== "mute") return Promise.resolve([] as readonly OpenedPolicyUrl[]);
      return new Promise((_, reject) => {
        signal.addEventListener("abort", () => {
          heard.push("mute called off");
          reject(new Error("called off"));
        });
      });
    },
    takeTurn(reload) {
      turn = turn.then(reload);
      return turn;
    },
    async prepare(next) {
      const text = textOf(next);
      await compiling;
      if (text === "policies" && areInvalid) throw new Error("policies");
      if (text === "again" && isFirst) {
        isFirst = false;
        return undefined;
      }
      return () => {
        if (text === "port") throw new Error("port");
        heard.push(`${text} in force`);
      };
    },
    failed: (error) => void heard.push(`${error instanceof Error ? error.message : ""} refused`),
    signal: stop.signal,
  };
  const reloads = createConfigReloads(parts);
  const apply = async (text: string): Promise<void> => {
    reloads.apply(text);
    await reloads.settled;
  };
  const mend = (): void => {
    areInvalid = false;
  };
  return { heard, reloads, apply, stop, mend, takeTurn: parts.takeTurn };
}

describe("a configuration", () => {
  it("that waits for a server holds no turn, and is called off by the next", async () => {
    const { heard, reloads, apply, takeTurn } = start();
    reloads.apply("mute");
    await takeTurn(() => Promise.resolve(void heard.push("policies change")));
    await apply("next");
    expect(heard).toEqual(["open mute", "policies change", "mute called off", "open next", "next in force"]);
  });

  it("that fails for its policies is tried again when they change, unless another has come", async () => {
    const { heard, reloads, apply, mend } = start();
    await apply("policies");
    reloads.tryAgain();
    await reloads.settled;
    mend();
    reloads.tryAgain();
    await reloads.settled;
    reloads.tryAgain();
    await reloads.settled;
    expect(heard.filter((text) => !text.startsWith("open"))).toEqual([
      "policies refused",
      "policies refused",
      "policies in force",
    ]);
    const other = start();
    await other.apply("policies");
    await other.apply("bad");
    other.reloads.tryAgain();
    await other.reloads.settled;
    expect(other.heard).toEqual(["open policies", "policies refused", "bad refused"]);
  });

  it("whose turn ends in failure after the next has come does not take its place", async () => {
    const gate = Promise.withResolvers<undefined>();
    const { heard, reloads, mend } = start(gate.promise);
    reloads.apply("policies");
    // its turn has begun, and waits at the gate
    await new Promise((resolve) => void setImmediate(resolve));
    reloads.apply("next");
    gate.resolve(undefined);
    await reloads.settled;
    mend();
    reloads.tryAgain();
    await reloads.settled;
    expect(heard).toEqual(["open policies", "open next", "policies refused", "next in force"]);
  });

  it.each([
    ["port", ["open port", "port refused"]],
    ["bad", ["bad refused"]],
  ])("that fails for anything else is not tried again: %s", async (text, expected) => {
    const { heard, reloads, apply } = start();
    await apply(text);
    reloads.tryAgain();
    await reloads.settled;
    expect(heard).toEqual(expected);
  });

  it("that needs another source by its turn is opened anew", async () => {
    const { heard, reloads, apply } = start();
    await apply("again");
    await reloads.settled;
    expect(heard).toEqual(["open again", "open again", "again in force"]);
  });

  it("is not said to be refused when the sidecar stops", async () => {
    const { heard, reloads, stop } = start();
    reloads.apply("mute");
    stop.abort();
    await reloads.settled;
    expect(heard).toEqual(["open mute", "mute called off"]);
  });
});
