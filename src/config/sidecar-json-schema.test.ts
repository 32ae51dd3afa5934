import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { loadSidecarConfig } from "./load-sidecar-config.ts";
import { readPolicyFiles } from "./policy-source.ts";
import { sidecarJsonSchema } from "./sidecar-json-schema.ts";

const folder = join(import.meta.dirname, "..", "..", "config");

it("stands in config/ as tools/generate-schema.mjs writes it", () => {
  const written: unknown = JSON.parse(readFileSync(join(folder, "countersign.schema.json"), "utf8"));
  expect(written).toEqual(sidecarJsonSchema());
});

it("describes every key of a mapping, and marks what this version does not build", () => {
  const undescribed: string[] = [];
  const notBuilt: string[] = [];
  const walk = (schema: unknown, path: string): void => {
    if (typeof schema !== "object" || schema === null) return;
    for (const [key, value] of Object.entries(schema)) {
      if (key === "properties") {
        for (const [name, property] of Object.entries(
          value as Record<string, { description?: string; not?: unknown }>,
        )) {
          if ((property.description ?? "").length < 8) undescribed.push(`${path}.${name}`);
          if (property.not !== undefined) notBuilt.push(name);
          walk(property, `${path}.${name}`);
        }
      } else walk(value, path);
    }
  };
  walk(sidecarJsonSchema(), "");
  expect(undescribed).toEqual([]);
  expect(new Set(notBuilt)).toEqual(new Set(["xff", "otlp", "webhook", "sample"]));
});

it("fits an example that loads without warning", async () => {
  const { config, warnings } = await loadSidecarConfig(join(folder, "countersign.yaml"), {});
  expect(warnings).toEqual([]);
  expect(config.inbound.map(({ name }) => name)).toEqual(["web"]);
  expect(await readPolicyFiles(config.policies)).toHaveLength(2);
});
