import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { serialize } from "node:v8";
import type { PackedPolicies, PolicyFile } from "../authz/load-policies.ts";
import type { PolicyOptions } from "../authz/policy-options.ts";
import type { ErrorCode } from "../core/error-codes.ts";
import { CountersignError, CountersignErrors, type SourcePosition } from "../core/errors.ts";
import { createMessageReader, type MessageReader } from "../sys/shared-memory-message.ts";
import { type ApartProcess, startApart } from "../sys/start-apart.ts";
import { COMPILE_POLICIES } from "./policy-compiler-argument.ts";
import { countersignBuild } from "./version.ts";

/** What a process that compiles policies is given. */
export interface PolicyProcessStart {
  readonly files: readonly PolicyFile[];
  readonly options: PolicyOptions;
  /** Of who asks: what another build compiles may mean something else here. */
  readonly build: string;
}

/** An error of the policies, as it is sent. */
export interface SentError {
  readonly code: ErrorCode;
  readonly message: string;
  readonly at: SourcePosition | undefined;
  readonly fix: string | undefined;
}

export type PolicyProcessAnswer =
  | ({ readonly kind: "compiled" } & PackedPolicies)
  | { readonly kind: "invalid"; readonly errors: readonly SentError[] }
  | { readonly kind: "other-build" };

export interface Compiling {
  /** False: nothing is served yet, and the sooner it is done the better. */
  readonly inBackground: boolean;
  /** Ends it: then the promise is rejected, soon. */
  readonly signal?: AbortSignal | undefined;
  /** How long a process in the background may take. */
  readonly patienceMs?: number;
  readonly maxHeapMb?: number;
}

/** Of V8's heap: beyond this a process ends, and nothing else does. 10 000 rules take some 100 MB of heap while they are compiled, 170 MB in all. */
const [LEAST_HEAP_MB, MOST_HEAP_MB] = [128, 2048];
/** Of the memory that is left, within a container's limit too: the system might end more than the process. */
const SHARE_OF_MEMORY = 0.75;
/** From the end of what a process says to its own. */
const EXIT_MS = 1_000;

/** Whether a set is so large that compiling it would be noticed by calls: a process costs some 100 ms, a kilobyte of policies a quarter of one. */
export function isLargeSet(files: readonly PolicyFile[]): boolean {
  return sizeOf(files) > 131_072;
}

/** Compiles policies in a process of its own, which ends with it: what a load leaves behind is gone, and in the background neither it nor what V8
 *  does for it in other threads takes time from calls, which a thread's priority would not see to. Where others leave it no time, another
 *  process does the work beside them: policies come, however busy the machine is. Rejects with CountersignErrors: those of the
 *  policies, or E_POLICY_PROCESS when there is no process, or no answer of it. */
export async function compileApart(
  files: readonly PolicyFile[],
  options: PolicyOptions,
  { inBackground, signal, patienceMs = patienceFor(files), maxHeapMb = heapLimitMb() }: Compiling,
): Promise<PackedPolicies> {
  const start: PolicyProcessStart = { files, options, build: countersignBuild() };
  let answer: PolicyProcessAnswer | undefined;
  try {
    if (inBackground) {
      answer = await askProcess(start, maxHeapMb, signal, patienceMs).catch((error: unknown) => {
        // whatever ended it need not end the next
        if (signal?.aborted === true) throw error;
        return undefined;
      });
    }
    answer ??= await askProcess(start, maxHeapMb, signal);
  } catch (error) {
    if (error instanceof CountersignErrors) throw error;
    throw processError(`the policies cannot be compiled: ${String(error)}`, { cause: error });
  }
  switch (answer.kind) {
    case "compiled":
      return answer;
    case "invalid":
      throw new CountersignErrors(
        answer.errors.map(({ code, message, at, fix }) => new CountersignError(code, message, { at, fix })),
      );
    case "other-build":
      throw processError("another build of countersign has been installed over the one that runs", {
        fix: "restart it",
      });
  }
}

function heapLimitMb(): number {
  const left = Math.floor((SHARE_OF_MEMORY * process.availableMemory()) / 2 ** 20);
  return Math.min(Math.max(left, LEAST_HEAP_MB), MOST_HEAP_MB);
}

/** A multiple of what an idle machine takes. */
function patienceFor(files: readonly PolicyFile[]): number {
  return 3_000 + Math.ceil(0.0015 * sizeOf(files));
}

function sizeOf(files: readonly PolicyFile[]): number {
  return files.reduce((sum, { text }) => sum + text.length, 0);
}

/** In the background if it has a time to answer in. Undefined: it had not answered by then. */
function askProcess(
  start: PolicyProcessStart,
  maxHeapMb: number,
  signal: AbortSignal | undefined,
): Promise<PolicyProcessAnswer>;
function askProcess(
  start: PolicyProcessStart,
  maxHeapMb: number,
  signal: AbortSignal | undefined,
  patienceMs: number,
): Promise<PolicyProcessAnswer | undefined>;
async function askProcess(
  start: PolicyProcessStart,
  maxHeapMb: number,
  signal: AbortSignal | undefined,
  patienceMs?: number,
): Promise<PolicyProcessAnswer | undefined> {
  const reader = createMessageReader();
  const { input, ended, kill } = startProcess(maxHeapMb, patienceMs !== undefined, reader);
  let isLate = false;
  const late = (): void => {
    isLate = true;
    kill();
  };
  const patience = patienceMs === undefined ? undefined : setTimeout(late, patienceMs);
  let exit: NodeJS.Timeout | undefined;
  signal?.addEventListener("abort", kill);
  if (signal?.aborted === true) kill();
  try {
    // one that ends early takes no more, or answers half: that it ended is seen below
    input.on("error", () => undefined).end(serialize(start));
    const answer = await reader.message.catch((error: unknown) => {
      throw processError(`the answer cannot be read: ${String(error)}`);
    });
    if (signal?.aborted === true) throw processError("the sidecar stops");
    if (answer !== undefined) return answer as PolicyProcessAnswer;
    if (isLate) return undefined;
    // it has no more to say: one that lives on all the same is not waited for
    exit = setTimeout(kill, EXIT_MS);
    throw processError(`the process that compiles ended with ${await ended} instead of an answer`);
  } finally {
    clearTimeout(patience);
    clearTimeout(exit);
    signal?.removeEventListener("abort", kill);
    kill();
  }
}

function startProcess(maxHeapMb: number, inBackground: boolean, reader: MessageReader): ApartProcess {
  // a young generation of V8's usual size takes 60 MB more, and no less time
  const heap = [`--max-old-space-size=${maxHeapMb}`, "--max-semi-space-size=8"];
  // options meant for this process, such as a debugger's port, are not the other's
  const env: Record<string, string> = {};
  for (const [name, value] of Object.entries(process.env))
    if (value !== undefined && name !== "NODE_OPTIONS") env[name] = value;
  try {
    const args = [...heap, "--disable-warning=ExperimentalWarning", ...entry()];
    return startApart({ file: process.execPath, args, env, inBackground }, reader);
  } catch (cause) {
    throw processError(`no process to compile in could be started: ${String(cause)}`, { cause });
  }
}

function processError(
  message: string,
  more: { readonly fix?: string; readonly cause?: unknown } = {},
): CountersignErrors {
  return new CountersignErrors([new CountersignError("E_POLICY_PROCESS", message, more)]);
}

/** From source the module itself. The bundle has a file of its own for it, or, where that was not brought along, is one file that finds out
 *  by itself what it is for (bin.ts). */
function entry(): readonly string[] {
  if (import.meta.url.endsWith(".ts")) return [fileURLToPath(new URL("policy-compiler.ts", import.meta.url))];
  const own = fileURLToPath(new URL("policy-compiler.mjs", import.meta.url));
  return existsSync(own) ? [own] : [fileURLToPath(import.meta.url), COMPILE_POLICIES];
}
