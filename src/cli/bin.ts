// The entry of the bundled CLI. Everything reachable from here without a dynamic import must run on Node 20.
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { isMainThread } from "node:worker_threads";
import { endWithParent, findOwnNode, isOldNode, missingNodeHelp, runBy } from "./own-node.ts";
import { COMPILE_POLICIES } from "./policy-compiler-argument.ts";
import { becomeTuned, isLongRunning } from "./tuned-node.ts";

const OWN_NODE = "COUNTERSIGN_OWN_NODE";
/** Answered by any Node: no second process for a line of text. */
const runAnywhere: ReadonlySet<string | undefined> = new Set(["--version", "-V", "--help", "-h", "help", undefined]);

if (!isMainThread) {
  await import("./sidecar-worker.ts");
} else if (process.argv[2] === COMPILE_POLICIES) {
  await import("./policy-compiler.ts");
} else if (isOldNode(process.versions.node) && !runAnywhere.has(process.argv[2])) {
  const script = fileURLToPath(import.meta.url);
  const platform = `${process.platform}-${process.arch}`;
  const node = findOwnNode(dirname(script), platform);
  if (node === undefined) {
    process.stderr.write(missingNodeHelp(process.versions.node, platform));
    process.exitCode = 2;
  } else {
    process.env[OWN_NODE] = "1";
    runBy(node, script, process.argv.slice(2));
  }
} else {
  if (process.env[OWN_NODE] === "1") {
    delete process.env[OWN_NODE];
    endWithParent();
  }
  if (isLongRunning(process.argv[2])) becomeTuned(fileURLToPath(import.meta.url));
  const [{ main }, { start }] = await Promise.all([import("./main.ts"), import("./start.ts")]);
  await start(main);
}
