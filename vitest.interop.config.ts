import { defineConfig } from "vitest/config";

/** Suites that need real peers (Go, Python, curl …). Each skips with a message that names what to install. */
export default defineConfig({
  test: {
    include: ["test/interop/**/*.test.ts", "test/smuggling/**/*.test.ts"],
    testTimeout: 300_000,
    hookTimeout: 300_000,
    pool: "forks",
    maxWorkers: 1,
    execArgv: ["--disable-warning=ExperimentalWarning"],
  },
});
