import { describe, expect, it } from "vitest";
import { CountersignError } from "../core/errors.ts";
import { createLogger, type LogLevel } from "./logger.ts";

function logger(level: LogLevel = "info"): { log: ReturnType<typeof createLogger>; lines: string[] } {
  const lines: string[] = [];
  return { log: createLogger(level, { write: (line) => void lines.push(line) }), lines };
}

describe("the operational log", () => {
  it("writes JSON lines with level name, ISO time and fields", () => {
    const { log, lines } = logger();
    log.info({ event: "listening", name: "web", address: "127.0.0.1:1" }, "serving");
    expect(JSON.parse(lines[0] ?? "")).toMatchObject({
      level: "info",
      event: "listening",
      name: "web",
      address: "127.0.0.1:1",
      msg: "serving",
      time: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
    });
  });

  it("leaves out what is below its level", () => {
    const { log, lines } = logger("warn");
    log.info({ event: "x" }, "x");
    expect(lines).toEqual([]);
  });

  it.each(["key", "token", "authorization", "cookie", "password"])(
    "redacts a member named %s, also one level down",
    (name) => {
      const { log, lines } = logger();
      log.info({ [name]: "s3cret", inner: { [name]: "s3cret" } }, "x");
      expect(lines[0]).not.toContain("s3cret");
    },
  );

  it("lets no control, bidirectional or other non-ASCII text through", () => {
    const { log, lines } = logger();
    log.warn({ peer: "\u001b[2J\u009b31m\u202e\u2028\n{}" }, "größe\u007f");
    expect(lines[0]).toMatch(/^[\x20-\x7e]+\n$/);
    expect(JSON.parse(lines[0] ?? "")).toMatchObject({
      peer: "\u001b[2J\u009b31m\u202e\u2028\n{}",
      msg: "größe\u007f",
    });
  });

  it("says of our own error the code and the fix, without a stack", () => {
    const { log, lines } = logger();
    const cause = new Error("ENOENT");
    log.error({ err: new CountersignError("E_SPIFFE_ID", "bad", { fix: "mend it", cause }) }, "x");
    expect(JSON.parse(lines[0] ?? "").err).toEqual({
      code: "E_SPIFFE_ID",
      message: "bad",
      fix: "mend it",
      cause: "ENOENT",
    });
  });

  it("shows the stack of an unexpected error only", () => {
    const { log, lines } = logger();
    log.error({ err: new Error("oops") }, "x");
    log.error({ err: Object.assign(new Error("gone"), { code: "ENOENT" }) }, "x");
    expect(JSON.parse(lines[0] ?? "").err.stack).toContain("logger.test.ts");
    expect(JSON.parse(lines[1] ?? "").err).toEqual({ code: "ENOENT", message: "gone" });
  });
});
