import { expect, test } from "vitest";
import { returnFreeMemory } from "./return-memory.ts";

test("memory is handed back where the C library can, and nothing happens elsewhere", () => {
  expect(() => returnFreeMemory()).not.toThrow();
});
