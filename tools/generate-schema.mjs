// Writes config/countersign.schema.json from the definition that reads countersign.yaml. Run it with the project's Node:
// node_modules/.bin/node tools/generate-schema.mjs. A test fails when the file is not up to date.
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { sidecarJsonSchema } from "../src/config/sidecar-json-schema.ts";

const root = join(import.meta.dirname, "..");
const file = join(root, "config", "countersign.schema.json");
writeFileSync(file, JSON.stringify(sidecarJsonSchema(), null, 2));
execFileSync(join(root, "node_modules", ".bin", "biome"), ["format", "--write", file], { stdio: "inherit" });
