import { describe, expect, it } from "vitest";
import { ProtocolMemory } from "./protocol-memory.ts";

type Note = "noteHttp1" | "noteSilent" | "noteNoTunnels";
type Says = "isHttp1" | "takesNoTunnels";

describe("what an upstream turned out not to speak", () => {
  it("is nothing at the start", () => {
    const memory = new ProtocolMemory(() => 0);
    expect(memory.isHttp1).toBe(false);
    expect(memory.takesNoTunnels).toBe(false);
    expect(memory.refusesAlpn).toBe(false);
  });

  const cases: readonly [note: Note, says: Says, forMs: number, other: Says][] = [
    ["noteHttp1", "isHttp1", 60_000, "takesNoTunnels"],
    ["noteSilent", "isHttp1", 2000, "takesNoTunnels"],
    ["noteNoTunnels", "takesNoTunnels", 600_000, "isHttp1"],
  ];
  for (const [note, says, forMs, other] of cases) {
    it(`after ${note}: ${says} for ${forMs} ms from the last time, and nothing else`, () => {
      let nowMs = 1000;
      const memory = new ProtocolMemory(() => nowMs);
      memory[note]();
      nowMs += 500;
      memory[note]();
      expect(memory[other]).toBe(false);
      nowMs += forMs - 1;
      expect(memory[says]).toBe(true);
      nowMs += 1;
      expect(memory[says]).toBe(false);
    });
  }

  it("is remembered for ever where it refused our ALPN names", () => {
    let nowMs = 0;
    const memory = new ProtocolMemory(() => nowMs);
    memory.noteRefusesAlpn();
    nowMs = 1e12;
    expect(memory.refusesAlpn).toBe(true);
    expect(memory.isHttp1).toBe(false);
  });

  it("is known for the shorter time once it was silent: it may have begun anew", () => {
    let nowMs = 0;
    const memory = new ProtocolMemory(() => nowMs);
    memory.noteHttp1();
    memory.noteSilent();
    nowMs = 2000;
    expect(memory.isHttp1).toBe(false);
  });
});
