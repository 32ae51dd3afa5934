import { expect, test } from "vitest";
import { readSummary } from "./h2load.ts";

test.each([
  [
    "what was answered well",
    "requests: 990 total, 1000 started, 990 done, 990 succeeded, 0 failed, 0 errored, 0 timeout\nstatus codes: 990 2xx, 0 3xx, 0 4xx, 0 5xx",
    { units: 990, calls: 990, seconds: 3, errors: 0 },
  ],
  [
    "answers that are failures, and broken connections",
    "requests: 100 total, 100 started, 100 done, 50 succeeded, 50 failed, 10 errored, 0 timeout\nstatus codes: 50 2xx, 0 3xx, 30 4xx, 10 5xx",
    { units: 100, calls: 90, seconds: 3, errors: 50 },
  ],
  [
    "HTTP/1.1 answers without a reason phrase, which h2load calls failed",
    "requests: 3 total, 3 started, 3 done, 0 succeeded, 3 failed, 0 errored, 0 timeout\nstatus codes: 0 2xx, 0 3xx, 0 4xx, 0 5xx",
    { units: 3, calls: 3, seconds: 3, errors: 0 },
  ],
])("reads %s", (_, line, expected) => {
  expect(readSummary(`finished in 3.00s\n${line}\n`, 3)).toEqual(expected);
});

test("a run without a summary is an error that shows what was printed", () => {
  expect(() => readSummary("no such host", 3)).toThrow("no such host");
});
