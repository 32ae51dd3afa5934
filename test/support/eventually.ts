import { vi } from "vitest";

/** Waits until a check holds that real sockets or processes bring about. Patient: the machine may be busy. */
export function eventually<T>(check: () => T | Promise<T>): Promise<T> {
  return vi.waitFor(check, { timeout: 15_000, interval: 5 });
}
