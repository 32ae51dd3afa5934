// What the process that compiles policies runs (policy-process.ts): its entry from source and in a bundle of its own; in the CLI's bundle bin.ts
// loads it.
import { readFileSync, writeSync } from "node:fs";
import { deserialize } from "node:v8";
import { readyForConditions } from "../authz/cel-libraries.ts";
import { loadPackedPolicies } from "../authz/load-policies.ts";
import { CountersignErrors } from "../core/errors.ts";
import { writeMessage } from "../sys/shared-memory-message.ts";
import type { PolicyProcessAnswer, PolicyProcessStart } from "./policy-process.ts";
import { countersignBuild } from "./version.ts";

const [STDIN, STDOUT] = [0, 1];
// both ends block: nothing else happens here
const start = deserialize(readFileSync(STDIN)) as PolicyProcessStart;
for (const piece of writeMessage(await answerTo(start))) write(piece);

function write(bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(STDOUT, bytes, at);
}

async function answerTo({ files, options, build }: PolicyProcessStart): Promise<PolicyProcessAnswer> {
  if (build !== countersignBuild()) return { kind: "other-build" };
  await readyForConditions(files);
  try {
    return { kind: "compiled", ...loadPackedPolicies(files, options) };
  } catch (error) {
    if (!(error instanceof CountersignErrors)) throw error;
    return {
      kind: "invalid",
      errors: error.errors.map(({ code, message, at, fix }) => ({ code, message, at, fix })),
    };
  }
}
