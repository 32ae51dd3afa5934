// `node test/smuggling/main.ts --origin nginx --route http1 --mutants 2000 --seed 1`: one run, its result as a JSON line. Exit 1
// when somebody behind the sidecar understood other requests than its records say, or less than a quarter of the mutants got there; 3 when the origin is not installed.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { createChildren } from "../../bench/processes.ts";
import { originHints, originNames, startOrigin } from "./origins.ts";
import { routes, smuggleRequests } from "./smuggle-requests.ts";

const { values } = parseArgs({
  options: {
    origin: { type: "string", default: "python" },
    route: { type: "string", default: "http1" },
    mutants: { type: "string", default: "500" },
    seed: { type: "string", default: String(Date.now() % 1_000_000) },
  },
});

async function main(): Promise<number> {
  const name = originNames.find((known) => known === values.origin);
  const route = routes.find((known) => known === values.route);
  if (name === undefined) throw new Error(`--origin is one of ${originNames.join(", ")}`);
  if (route === undefined) throw new Error(`--route is one of ${routes.join(", ")}`);
  const dir = mkdtempSync(join(tmpdir(), "countersign-smuggling-"));
  process.on("exit", () => rmSync(dir, { recursive: true, force: true }));
  await using children = createChildren(new AbortController().signal);
  const origin = await startOrigin(children, name, dir);
  if (origin === undefined) {
    console.error(originHints[name]);
    return 3;
  }
  const seed = Number(values.seed);
  const result = await smuggleRequests({ origin, route, mutants: Number(values.mutants), seed });
  console.log(JSON.stringify({ origin: name, route, seed, ...result }));
  return result.differences.length > 0 || result.reached * 4 < result.mutants ? 1 : 0;
}

const code = await main();
// at once: sockets that were cut in the middle of a handshake can keep a Node that ends by itself from ending
process.stdout.write("", () => process.exit(code));
