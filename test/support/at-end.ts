import { onTestFinished } from "vitest";

/** Has this done when the test has ended, newest first, each waited for. */
export function atEnd(end: () => unknown): void {
  onTestFinished(async () => {
    await end();
  });
}
