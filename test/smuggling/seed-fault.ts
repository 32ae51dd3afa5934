// `node --import seed-fault.ts …`: loads the sources with the fault that SEEDED_FAULT names.
import { readFileSync } from "node:fs";
import { registerHooks } from "node:module";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { seededFaults } from "./seeded-faults.ts";

const wanted = process.env["SEEDED_FAULT"];
const fault = seededFaults.find(({ name }) => name === wanted);
if (fault === undefined) throw new Error(`no fault is called ${wanted}`);
const { file, find, replace } = fault;
const path = join(import.meta.dirname, "..", "..", "src", file);
// now, not when it is loaded: a fault that fits nowhere must not look like one that was not found
const source = readFileSync(path, "utf8");
if (!source.includes(find)) throw new Error(`${file} has no longer what the fault "${fault.name}" changes`);

registerHooks({
  load(url, context, next) {
    if (!url.startsWith("file:") || fileURLToPath(url) !== path) return next(url, context);
    return { format: "module-typescript", shortCircuit: true, source: source.replaceAll(find, replace) };
  },
});
