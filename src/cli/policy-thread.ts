import { existsSync } from "node:fs";
import { Worker } from "node:worker_threads";
import type { PackedPolicies, PolicyFile } from "../authz/load-policies.ts";
import type { PolicyOptions } from "../authz/policy-options.ts";
import type { ErrorCode } from "../core/error-codes.ts";
import { CountersignError, CountersignErrors, type SourcePosition } from "../core/errors.ts";

/** What a thread that compiles policies is given. */
export interface PolicyThreadStart {
  readonly kind: "compile-policies";
  readonly files: readonly PolicyFile[];
  readonly options: PolicyOptions;
}

/** An error of the policies, as it is posted. */
export interface PostedError {
  readonly code: ErrorCode;
  readonly message: string;
  readonly at: SourcePosition | undefined;
  readonly fix: string | undefined;
}

export type PolicyThreadAnswer =
  | ({ readonly kind: "compiled" } & PackedPolicies)
  | { readonly kind: "invalid"; readonly errors: readonly PostedError[] };

/** Beyond this a thread ends, and nothing else does: 10 000 rules take some 100 MB while they are compiled. */
const MAX_HEAP_MB = 2048;

/** Whether a set is so large that compiling it would be noticed by calls: a thread costs some 50 ms, a kilobyte of policies a quarter of one. */
export function isLargeSet(files: readonly PolicyFile[]): boolean {
  return files.reduce((sum, { text }) => sum + text.length, 0) > 131_072;
}

/** Compiles policies in a thread of its own, which ends with it: calls go on, and what a load leaves behind is gone with the thread. Rejects with
 *  CountersignErrors: those of the policies, or E_POLICY_THREAD when the thread ended without an answer. */
export async function compileInThread(
  files: readonly PolicyFile[],
  options: PolicyOptions,
  maxHeapMb = MAX_HEAP_MB,
): Promise<PackedPolicies> {
  const start: PolicyThreadStart = { kind: "compile-policies", files, options };
  const resourceLimits = { maxOldGenerationSizeMb: maxHeapMb };
  const thread = new Worker(entry(), { workerData: start, name: "policies", resourceLimits });
  const { promise, resolve, reject } = Promise.withResolvers<PolicyThreadAnswer>();
  const failed = (why: string, cause?: unknown): void =>
    reject(new CountersignErrors([new CountersignError("E_POLICY_THREAD", why, { cause })]));
  thread.on("message", resolve);
  thread.on("messageerror", (error) => failed("what the thread compiled cannot be read", error));
  thread.on("error", (error: unknown) => failed(`the thread ended: ${String(error)}`, error));
  thread.on("exit", () => failed("the thread ended without an answer"));
  try {
    const answer = await promise;
    if (answer.kind === "compiled") return answer;
    throw new CountersignErrors(
      answer.errors.map(({ code, message, at, fix }) => new CountersignError(code, message, { at, fix })),
    );
  } finally {
    await thread.terminate();
  }
}

/** From source the module itself. The bundle has a file of its own for it, or, where that was not brought along, is one file that finds out
 *  by itself what it runs in (bin.ts). */
function entry(): URL {
  if (import.meta.url.endsWith(".ts")) return new URL("policy-worker.ts", import.meta.url);
  const own = new URL("policy-worker.mjs", import.meta.url);
  return existsSync(own) ? own : new URL(import.meta.url);
}
