import { sidecarShape } from "./sidecar-shape.ts";
import type { JsonSchema } from "./yaml-shape.ts";

/** countersign.yaml as JSON Schema (draft-07, which editors' YAML support reads), from the definition that reads it. It is
 *  help while writing, not the judge: rules between keys and what `${ENV}` stands for are only known to `check`. */
export function sidecarJsonSchema(): JsonSchema {
  return {
    $schema: "http://json-schema.org/draft-07/schema#",
    title: "countersign.yaml",
    description: "Configuration of a Countersign sidecar.",
    ...sidecarShape.schema,
  };
}
