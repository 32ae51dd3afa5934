export interface Checks {
  /** Prints a PASS or FAIL line; `measured` says what was seen, whichever it is. */
  readonly check: (claim: string, holds: boolean, measured: string) => void;
  /** The last line, and the exit code: 0 when every check held and there was one. */
  readonly close: () => 0 | 1;
}

export function createChecks(): Checks {
  let passed = 0;
  let failed = 0;
  return {
    check(claim, holds, measured) {
      if (holds) passed++;
      else failed++;
      console.log(`${holds ? "PASS" : "FAIL"}  ${claim}: ${measured}`);
    },
    close() {
      console.log(`${passed} passed, ${failed} failed`);
      return failed === 0 && passed > 0 ? 0 : 1;
    },
  };
}
