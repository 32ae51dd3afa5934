// Writes the JSON Schemas of config/ from the definitions that read the files: countersign.yaml, policies and their tables of tests. Run it with the
// project's Node: node_modules/.bin/node tools/generate-schema.mjs. A test fails when a file is not up to date.
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { policyTestJsonSchema } from "../src/config/policy-test-file.ts";
import { sidecarJsonSchema } from "../src/config/sidecar-json-schema.ts";
import { policyJsonSchema } from "../src/policy-tools/policy-json-schema.ts";

const root = join(import.meta.dirname, "..");
const schemas = {
  "countersign.schema.json": sidecarJsonSchema(),
  "policy.schema.json": policyJsonSchema(),
  "policy-test.schema.json": policyTestJsonSchema(),
};
const files = Object.entries(schemas).map(([name, schema]) => {
  const file = join(root, "config", name);
  writeFileSync(file, JSON.stringify(schema, null, 2));
  return file;
});
execFileSync(join(root, "node_modules", ".bin", "biome"), ["format", "--write", ...files], { stdio: "inherit" });
